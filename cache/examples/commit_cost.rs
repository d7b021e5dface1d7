//! What committing a command's changes costs, and how much of that is reading and hashing content.
//!
//! `cargo run --release -p kiln-cache --example commit_cost [FILES]` prints medians of several rounds in
//! turn: the commit of an empty upper directory; the commit of FILES small files into an empty store;
//! and, of the same tree, one parallel walk that asks for each file's stat and attributes, which is the
//! least that a commit without hashing would have to do.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_cache::layer::LayerStore;
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD};

const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let files = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse())?;
    let (mut empty, mut full, mut walks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // Where a store would stand: the default for temporary files is often memory.
        let root = tempfile::tempdir_in(".")?;
        let (layers, staging) = (root.path().join("layers"), root.path().join("staging"));
        fs::create_dir(&layers)?;
        fs::create_dir(&staging)?;
        let store = LayerStore::new(layers, staging);
        // The first puts the empty layer into the store, which costs once.
        store.commit_upper(store.stage()?, &[])?;
        let nothing = store.stage()?;
        empty.push(time(|| Ok(store.commit_upper(nothing, &[]).map(drop)?))?);
        let staged = store.stage()?;
        fill(&staged.upper(), files)?;
        let upper = staged.upper();
        walks.push(time(|| walk(&upper))?);
        full.push(time(|| Ok(store.commit_upper(staged, &[]).map(drop)?))?);
    }
    let (empty, full, walk) = (median(empty), median(full), median(walks));
    println!("{files} small files, medians of {ROUNDS}");
    println!("commit of an empty upper directory    {empty:?}");
    println!("walk with stat and attributes         {walk:?}");
    println!("commit: walk, read, hash, manifest    {full:?}");
    Ok(())
}

fn fill(upper: &Path, files: usize) -> std::io::Result<()> {
    for file in 0..files {
        let dir = upper.join(format!("directory-{}", file % 200));
        if file < 200 {
            fs::create_dir(&dir)?;
        }
        fs::write(dir.join(format!("file-{file}")), format!("{file}\n").repeat(1 + file % 400))?;
    }
    Ok(())
}

fn walk(dir: &Path) -> Result<(), Box<dyn Error>> {
    visit(dir).map_err(Into::into)
}

fn visit(dir: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.into_par_iter().try_for_each(|entry| {
        let path = entry.path();
        rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut names = [0; 1024];
        rustix::fs::llistxattr(&path, names.as_mut_slice())?;
        if entry.file_type()?.is_dir() { visit(&path) } else { Ok(()) }
    })
}

fn time(what: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
