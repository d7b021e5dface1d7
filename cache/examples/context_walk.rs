//! Times the selection of a whole context against one parallel walk that stats the same files.
//!
//! `cargo run --release -p kiln-cache --example context_walk [FILES [DIRECTORIES]]` prints medians of
//! several rounds: the walk, a first selection, one with a warm stat cache, and what reading and writing
//! the cache costs.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_cache::context::{LocalTree, StatCache};
use kiln_cache::select::select;
use kiln_ir::{CopyOp, GuestPath};
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags};

const ROUNDS: usize = 21;

/// How long a selection took, and the cache as bytes if there is news for it.
type Timed = (Duration, Option<Vec<u8>>);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let files = arguments.next().transpose()?.unwrap_or(10_000);
    let dirs = arguments.next().transpose()?.unwrap_or(400).max(1);
    let context = tempfile::tempdir()?;
    for file in 0..files {
        let dir = context.path().join(format!("d{}/s{}", file % dirs % 20, file % dirs));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("file-{file}.txt")), format!("{file}\n").repeat(file % 400))?;
    }
    // Files as young as their reading are not remembered.
    std::thread::sleep(Duration::from_millis(200));

    let (cold, bytes) = timed_selection(context.path(), StatCache::default())?;
    let bytes = bytes.ok_or("nothing was learned")?;
    let mut walks = Vec::new();
    let mut warms = Vec::new();
    let mut decodes = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let walked = walk(context.path())?;
        walks.push(start.elapsed());
        if walked != files {
            return Err(format!("walked {walked} files").into());
        }
        let start = Instant::now();
        let cache = StatCache::decode(bytes.clone());
        decodes.push(start.elapsed());
        warms.push(timed_selection(context.path(), cache)?.0);
    }
    let (walk, warm, decode) = (median(walks), median(warms), median(decodes));
    println!("{files} files in {dirs} directories, {} threads", rayon::current_num_threads());
    println!("stat walk           {walk:?}");
    println!("cold selection      {cold:?}");
    println!(
        "warm selection      {warm:?}  ({:.2} walks)",
        warm.as_secs_f64() / walk.as_secs_f64()
    );
    println!("decoding the cache  {decode:?}  ({} bytes)", bytes.len());
    let whole = (warm + decode).as_secs_f64() / walk.as_secs_f64();
    println!("both                {:?}  ({whole:.2} walks)", warm + decode);
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Selects everything.
fn timed_selection(context: &Path, cache: StatCache) -> Result<Timed, Box<dyn Error>> {
    let copy = CopyOp {
        input: 1,
        source: "/".to_owned(),
        wildcard: true,
        required: false,
        dest: GuestPath::root(),
        dest_is_dir: true,
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore: vec![".git".to_owned(), "**/node_modules".to_owned()],
    };
    let start = Instant::now();
    let tree = LocalTree::open(context, cache)?;
    let selection = select(&tree, &copy)?;
    let elapsed = start.elapsed();
    drop(selection);
    Ok((elapsed, tree.stat_cache().encode()))
}

/// The least that looking at every file costs: names and stats, in parallel by directory.
fn walk(dir: &Path) -> Result<usize, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    let mut files = 0;
    let mut below = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mask = StatxFlags::BASIC_STATS;
        rustix::fs::statx(&fd, name, AtFlags::SYMLINK_NOFOLLOW, mask)?;
        if entry.file_type() == FileType::Directory {
            below.push(dir.join(std::ffi::OsStr::new(&*name.to_string_lossy())));
        } else {
            files += 1;
        }
    }
    let below: Result<Vec<usize>, rustix::io::Errno> =
        below.par_iter().map(|dir| walk(dir)).collect();
    Ok(files + below?.into_iter().sum::<usize>())
}
