//! The commit time of the git checkout that a context is in.
//!
//! git is asked, which takes as long as a third of a build that has nothing to do. So its answer is remembered, with a
//! digest of all that it hangs on: what `HEAD` and its branch say, and the stats of the files that could say otherwise. Only
//! of the usual checkout, which is the account's own: for anything else, and whenever the environment tells git
//! something, git is asked.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_ir::{ContentHasher, Digest};

use super::contexts::replace;

/// What besides `HEAD` and its branch can change which commit is meant, or what it says.
const OTHERS: [&str; 6] =
    ["config", "packed-refs", "refs/replace", "info/grafts", "shallow", "reftable/tables.list"];
/// Variables that begin like git's own and do not change which commit is meant: all others might.
const HARMLESS: [&str; 13] = [
    "GIT_ASKPASS",
    "GIT_AUTHOR_",
    "GIT_COMMITTER_",
    "GIT_EDITOR",
    "GIT_HTTP_",
    "GIT_MERGE_AUTOEDIT",
    "GIT_PAGER",
    "GIT_PROXY_",
    "GIT_PS1_",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_TERMINAL_PROMPT",
];
/// More is no `HEAD`, and no branch.
const MAX_BYTES: u64 = 4096;
/// What was changed so lately may be changed again and look the same.
const YOUNG: Duration = Duration::from_secs(2);
/// What the file with the answer begins with.
const FORMAT: &str = "kiln head 1";

/// The commit time of the repository that a directory may be in, in seconds since 1970. It is found out once at the most, so
/// that all of a build has the same answer.
#[derive(Debug)]
pub(super) struct Head(Arc<Answer>);

type Answer = LazyLock<Option<i64>, Box<dyn FnOnce() -> Option<i64> + Send>>;

impl Head {
    /// That of `context`; `memo` is the file that remembers it.
    pub(super) fn of(context: PathBuf, memo: PathBuf) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(move || seconds(&context, &memo)))))
    }

    /// Has another thread find it out, unless that takes no time. If there can be no thread, whoever needs the answer does.
    pub(super) fn ask_ahead(&self, context: &Path, memo: &Path) {
        let Some(top) = top_of(context) else { return };
        if State::of(context, &top).is_some_and(|state| state.recall(memo).is_some()) {
            return;
        }
        let head = Arc::clone(&self.0);
        let ask = move || {
            LazyLock::force(&head);
        };
        drop(thread::Builder::new().name("kiln-git".to_owned()).spawn(ask));
    }

    pub(super) fn seconds(&self) -> Option<i64> {
        **self.0
    }
}

fn seconds(context: &Path, memo: &Path) -> Option<i64> {
    let top = top_of(context)?;
    let state = || State::of(context, &top);
    let before = state();
    if let Some(known) = before.as_ref().and_then(|state| state.recall(memo)) {
        return Some(known);
    }
    let seconds = ask(context)?;
    if let Some(before) = before
        && before.is_settled
        && state().is_some_and(|after| after.digest == before.digest)
    {
        let text = format!("{FORMAT} {} {seconds}\n", before.digest);
        // Without it git is asked the next time as well.
        if let Err(error) = replace(memo, text.as_bytes()) {
            tracing::warn!(%error, "a commit's time is not remembered");
        }
    }
    Some(seconds)
}

/// The directory around `context` that there may be a repository in, with links followed as git does.
fn top_of(context: &Path) -> Option<PathBuf> {
    let context = context.canonicalize().ok()?;
    context.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

/// The commit time of the repository that `context` is in.
///
/// A plumbing command with the repository's own hooks and monitors out of play: the context is not
/// trusted. A repository of another account is refused by git itself.
fn ask(context: &Path) -> Option<i64> {
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["--no-optional-locks", "-C"])
        .arg(context)
        .args(["rev-list", "--max-count=1", "--no-commit-header", "--format=%ct", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// All that git's answer hangs on.
struct State {
    digest: Digest,
    /// Whether any later change would show.
    is_settled: bool,
}

impl State {
    /// Nothing for what is not the usual checkout.
    fn of(context: &Path, top: &Path) -> Option<Self> {
        if std::env::vars_os().any(|(name, _)| tells_git(&name.to_string_lossy())) {
            return None;
        }
        let git = top.join(".git");
        if !is_plain(&context.canonicalize().ok()?, top, &git) {
            return None;
        }
        let head = read(&git.join("HEAD"))?;
        let mut hasher = ContentHasher::new("kiln git head 1");
        hasher.bytes(git.as_os_str().as_encoded_bytes());
        hasher.bytes(head.as_bytes());
        if let Some(branch) = head.strip_prefix("ref: ") {
            let name = branch.trim_end();
            if !name.starts_with("refs/")
                || name.split('/').any(|part| matches!(part, "" | "." | ".."))
            {
                return None;
            }
            let path = git.join(name);
            // One that is packed has no file of its own.
            let commit = if path.symlink_metadata().is_ok() { read(&path)? } else { String::new() };
            if !commit.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            hasher.bytes(commit.as_bytes());
        }
        let mut newest = 0;
        for other in OTHERS {
            let stat = git.join(other).symlink_metadata().ok();
            hasher.u64(u64::from(stat.is_some()));
            if let Some(stat) = stat {
                let numbers = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
                let numbers = numbers.map(i64::cast_unsigned);
                numbers
                    .into_iter()
                    .chain([stat.dev(), stat.ino(), stat.size()])
                    .for_each(|n| hasher.u64(n));
                newest = newest.max(stat.ctime());
            }
        }
        let settled = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(YOUNG)?;
        let is_settled = u64::try_from(newest).is_ok_and(|newest| newest < settled.as_secs());
        Some(Self { digest: hasher.finish(), is_settled })
    }

    /// What git answered in this state.
    fn recall(&self, memo: &Path) -> Option<i64> {
        let text = read(memo)?;
        let rest = text.strip_prefix(FORMAT)?.strip_prefix(' ')?;
        let (digest, seconds) = rest.trim_end().split_once(' ')?;
        if digest.parse() == Ok(self.digest) { seconds.parse().ok() } else { None }
    }
}

fn tells_git(variable: &str) -> bool {
    variable.starts_with("GIT_") && !HARMLESS.iter().any(|harmless| variable.starts_with(harmless))
}

/// Whether `top` is a checkout that git takes for one, and the first that it comes to: the account's own, on the context's
/// filesystem, with all of the repository in its `.git`, and nothing in between that looks like a repository.
fn is_plain(context: &Path, top: &Path, git: &Path) -> bool {
    let own = |path: &Path| {
        let stat = path.symlink_metadata().ok()?;
        let is_own = stat.is_dir() && stat.uid() == rustix::process::geteuid().as_raw();
        is_own.then_some(stat.dev())
    };
    let (Some(device), Some(of_git)) = (own(top), own(git)) else { return false };
    let is_bare = |dir: &Path| dir.join("objects").exists() && dir.join("refs").exists();
    let between = context.ancestors().take_while(|dir| dir.starts_with(top));
    device == of_git
        && context.symlink_metadata().is_ok_and(|stat| stat.dev() == device)
        && !git.join("commondir").exists()
        && !between.into_iter().any(is_bare)
}

/// A short file that is no link.
fn read(path: &Path) -> Option<String> {
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout with a file for what is remembered.
    struct Checkout {
        dir: tempfile::TempDir,
    }

    impl Checkout {
        fn new() -> Self {
            let checkout = Self { dir: tempfile::tempdir().unwrap() };
            fs::create_dir_all(checkout.top().join("sub")).unwrap();
            checkout.git(&["init", "-q"]);
            checkout
        }

        fn top(&self) -> PathBuf {
            self.dir.path().join("checkout")
        }

        fn memo(&self) -> PathBuf {
            self.dir.path().join("memo")
        }

        fn git(&self, arguments: &[&str]) {
            self.git_at(1_600_000_000, arguments);
        }

        fn commit(&self, seconds: i64) {
            self.git_at(seconds, &["commit", "-q", "--allow-empty", "-m", "one"]);
        }

        /// Has git do something; a commit that it makes is of this time.
        fn git_at(&self, seconds: i64, arguments: &[&str]) {
            let output = Command::new("git")
                .arg("-C")
                .arg(self.top())
                .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
                .args(arguments)
                .env("GIT_COMMITTER_DATE", format!("{seconds} +0000"))
                .output();
            assert!(output.unwrap().status.success(), "{arguments:?}");
        }

        /// Lets what lately changed grow old.
        fn settle(&self) {
            std::thread::sleep(YOUNG + Duration::from_secs(1));
        }

        /// The answer for a directory in it.
        fn seconds(&self, below: &str) -> Option<i64> {
            Head::of(self.top().join(below), self.memo()).seconds()
        }

        /// What is remembered without git.
        fn remembered(&self) -> Option<i64> {
            let top = top_of(&self.top())?;
            State::of(&self.top(), &top)?.recall(&self.memo())
        }
    }

    #[test]
    fn a_commit_gives_its_time() {
        let checkout = Checkout::new();
        assert_eq!(checkout.seconds(""), None, "no commit yet");
        checkout.commit(1_700_000_000);
        assert_eq!(checkout.seconds("sub"), Some(1_700_000_000));
        let nowhere = checkout.dir.path().join("nowhere");
        fs::create_dir(&nowhere).unwrap();
        assert_eq!(Head::of(nowhere, checkout.memo()).seconds(), None);
        let link = checkout.dir.path().join("link");
        std::os::unix::fs::symlink(checkout.top().join("sub"), &link).unwrap();
        assert_eq!(Head::of(link, checkout.memo()).seconds(), Some(1_700_000_000));
    }

    #[test]
    fn one_build_has_one_answer() {
        let checkout = Checkout::new();
        checkout.commit(1_700_000_000);
        let [head, other] = [(), ()].map(|()| Head::of(checkout.top(), checkout.memo()));
        head.ask_ahead(&checkout.top(), &checkout.memo());
        assert_eq!(head.seconds(), Some(1_700_000_000));
        checkout.commit(1_800_000_000);
        assert_eq!(head.seconds(), Some(1_700_000_000));
        assert_eq!(other.seconds(), Some(1_800_000_000));
    }

    #[test]
    fn what_git_said_is_remembered_until_it_may_say_otherwise() {
        let checkout = Checkout::new();
        checkout.commit(1_700_000_000);
        checkout.settle();
        assert_eq!(checkout.remembered(), None);
        assert_eq!(checkout.seconds(""), Some(1_700_000_000));
        assert_eq!(checkout.remembered(), Some(1_700_000_000));
        // Each of these is another commit by another way.
        checkout.commit(1_800_000_000);
        assert_eq!(checkout.remembered(), None);
        assert_eq!(checkout.seconds(""), Some(1_800_000_000));
        assert_eq!(checkout.remembered(), Some(1_800_000_000));
        checkout.git(&["checkout", "-q", "--detach", "HEAD~"]);
        assert_eq!(checkout.remembered(), None);
        assert_eq!(checkout.seconds(""), Some(1_700_000_000));
        checkout.git(&["checkout", "-q", "-b", "packed"]);
        checkout.git(&["pack-refs", "--all"]);
        assert_eq!(checkout.remembered(), None);
        assert_eq!(checkout.seconds(""), Some(1_700_000_000));
        assert_eq!(checkout.remembered(), None, "the packed names are young");
        checkout.settle();
        checkout.seconds("");
        assert_eq!(checkout.remembered(), Some(1_700_000_000));
        checkout.git(&["replace", "HEAD", "HEAD@{2}"]);
        assert_eq!(checkout.remembered(), None);
        assert_eq!(checkout.seconds(""), Some(1_800_000_000));
    }

    #[test]
    fn of_what_is_no_usual_checkout_git_is_asked() {
        let checkout = Checkout::new();
        checkout.commit(1_700_000_000);
        checkout.settle();
        checkout.seconds("");
        assert!(checkout.remembered().is_some());
        let changed = |change: &dyn Fn(&Path), undo: &dyn Fn(&Path)| {
            let git = checkout.top().join(".git");
            change(&git);
            let remembered = checkout.remembered();
            undo(&git);
            remembered
        };
        let of_another = changed(
            &|git| std::os::unix::fs::chown(git, Some(12345), None).unwrap_or(()),
            &|git| {
                std::os::unix::fs::chown(git, Some(rustix::process::geteuid().as_raw()), None)
                    .unwrap_or(())
            },
        );
        assert!(of_another.is_none() || !rustix::process::geteuid().is_root());
        let shared =
            changed(&|git| fs::write(git.join("commondir"), "../other").unwrap(), &|git| {
                fs::remove_file(git.join("commondir")).unwrap()
            });
        assert_eq!(shared, None);
        assert!(checkout.remembered().is_some());
        fs::write(checkout.memo(), "kiln head 1 nonsense\n").unwrap();
        assert_eq!(checkout.remembered(), None);
        for name in ["objects", "refs"] {
            fs::create_dir(checkout.top().join(name)).unwrap();
        }
        let top = top_of(&checkout.top()).unwrap();
        assert!(
            State::of(&checkout.top(), &top).is_none(),
            "it may be a repository without a checkout"
        );
    }
}
