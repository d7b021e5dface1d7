//! Why steps ran or did not: what makes them run again, and what is said of it.

mod builds;
mod filter;
mod inputs;
mod required;
mod secrets;

use std::path::PathBuf;

use super::support::build::Kiln;
use super::support::{Work, bases, is_root};

/// A context and a store.
struct Bed {
    work: Work,
    kiln: Kiln,
    base: PathBuf,
}

/// What a call said, and how it ended.
struct Said {
    text: String,
    code: Option<i32>,
}

impl Bed {
    /// Nothing where this machine cannot build, or has no base.
    fn new(dockerfile: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let base = bases::busybox()?;
        let work = Work::new();
        let base = work.copy(&base, "base");
        let kiln = Kiln::at(work.path("store"));
        work.context("ctx", dockerfile);
        Some(Self { work, kiln, base })
    }

    /// A path in the context.
    fn at(&self, name: &str) -> PathBuf {
        self.work.path(&format!("ctx/{name}"))
    }

    /// Writes a file of the context.
    fn write(&self, name: &str, content: &str) {
        self.work.write(&format!("ctx/{name}"), content);
    }

    /// The same files on another store.
    fn elsewhere(&self) -> Kiln {
        Kiln::at(self.work.path("elsewhere"))
    }

    /// What a build with these arguments says on standard error.
    fn build(&self, arguments: &[&str]) -> Said {
        self.build_on(&self.kiln, arguments)
    }

    fn build_on(&self, kiln: &Kiln, arguments: &[&str]) -> Said {
        let mut command = kiln.command(&["build", "--quiet", "--output=type=cacheonly"]);
        command.arg(format!("--build-context=base=oci-layout://{}", self.base.display()));
        let output = command.args(arguments).arg(self.work.path("ctx")).output().unwrap();
        Said { text: String::from_utf8(output.stderr).unwrap(), code: output.status.code() }
    }

    /// A build that asks why, with its progress in a given form.
    fn build_with_progress(&self, mode: &str, arguments: &[&str]) -> Said {
        let base = format!("--build-context=base=oci-layout://{}", self.base.display());
        let mut command = self.kiln.command(&["build", "--explain", "--progress", mode, &base]);
        let output = command.args(arguments).arg(self.work.path("ctx")).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        Said { text, code: output.status.code() }
    }

    /// What a build says that asks why, and must succeed.
    fn explained(&self, arguments: &[&str]) -> String {
        let said = self.build(&[&["--explain"], arguments].concat());
        assert_eq!(said.code, Some(0), "{}", said.text);
        said.text
    }

    /// What `kiln explain` says.
    fn asked(&self, arguments: &[&str]) -> String {
        self.kiln.print(&[&["explain"], arguments].concat())
    }

    /// `--secret` for a file of the test's, with further fields.
    fn secret(&self, fields: &str) -> String {
        format!("--secret=id=token,src={}{fields}", self.work.path("token").display())
    }
}

/// Fails unless each of these is said.
fn assert_says(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.contains(line), "`{line}` is missing:\n{said}");
    }
}
