//! The Dockerfiles and contexts that are measured: the same bytes in every run, but for the one file that
//! is changed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::NAME;

/// Directories of the large context, and files in each.
const DIRECTORIES: usize = 100;
const FILES: usize = 100;

/// Contexts, each a directory with a Dockerfile.
pub(super) struct Inputs {
    /// The base and nothing else.
    pub(super) base_only: PathBuf,
    /// Commands that change nothing, one after the other.
    pub(super) chain: PathBuf,
    /// Commands that each write a file.
    pub(super) chain_written: PathBuf,
    /// The first tenth of the chain, for who would take minutes for the whole.
    pub(super) chain_tenth: PathBuf,
    /// 10,000 files, and 18 steps of which the last two read them.
    pub(super) context: PathBuf,
}

impl Inputs {
    /// Writes them into a new directory.
    pub(super) fn make(dir: &Path, chain_length: usize) -> Result<Self> {
        let inputs = Self {
            base_only: dir.join("base"),
            chain: dir.join("chain"),
            chain_written: dir.join("chain-written"),
            chain_tenth: dir.join("chain-tenth"),
            context: dir.join("context"),
        };
        let base = format!("FROM {NAME}\n");
        write_dockerfile(&inputs.base_only, &base)?;
        // The numbers make them different steps: twice the same on the same is a step once.
        let commands = numbered("RUN :", chain_length);
        write_dockerfile(&inputs.chain, &(base.clone() + &commands))?;
        let written = (0..chain_length).map(|n| format!("RUN echo {n} > /file-{n}\n"));
        write_dockerfile(&inputs.chain_written, &(base.clone() + &written.collect::<String>()))?;
        let tenth = numbered("RUN :", chain_length / 10);
        write_dockerfile(&inputs.chain_tenth, &(base.clone() + &tenth))?;
        let steps = numbered("RUN :", 15);
        write_dockerfile(
            &inputs.context,
            &format!("{base}{steps}WORKDIR /app\nCOPY . .\nRUN : last\n"),
        )?;
        for directory in 0..DIRECTORIES {
            let path = inputs.context.join(format!("directory-{directory}"));
            fs::create_dir(&path)?;
            for file in 0..FILES {
                let line = format!("file {file} of directory {directory}\n");
                let repeats = 1 + (directory * 31 + file * 17) % 100;
                fs::write(path.join(format!("file-{file}.txt")), line.repeat(repeats))?;
            }
        }
        Ok(inputs)
    }

    /// Gives one file of the large context content that it never had.
    pub(super) fn change_one_file(&self, round: usize) -> Result<()> {
        let path = self.context.join("directory-50/file-50.txt");
        Ok(fs::write(path, format!("changed for round {round}\n"))?)
    }
}

fn write_dockerfile(context: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(context)?;
    Ok(fs::write(context.join("Dockerfile"), text)?)
}

fn numbered(line: &str, count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        // Writing to a string cannot fail.
        let _ok = writeln!(text, "{line} {number}");
        text
    })
}
