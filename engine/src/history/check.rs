//! Whether what is kept of builds can be read, and setting right what cannot.
//!
//! The file is the truth and the row follows from it. A file of which a part cannot be read is cut before that part,
//! and is then that of a build that was killed; one that cannot be read at all is removed. A build that ended, by its
//! file, and has no row gets one: rows are lost with a database. Nothing is wrong with a build that was killed before
//! its first line was written, as it is in its first second: it goes with the history's limits.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use kiln_cache::check::{Checked, Fault, Part, Repair};
use kiln_cache::{BuildState, ListedBuild, Store};

use super::archive::row_of;
use super::line::Line;
use super::past::{Fold, PastBuild};
use super::reader::{self, Extent, ReadError};
use crate::EngineError;

/// The end of a file, in which its last line is looked for.
const TAIL_BYTES: u64 = 1 << 16;

/// What is wrong with what is kept of a build, and what is to be done about it.
enum Wrong {
    /// It has no file.
    Absent,
    /// It cannot be read at all.
    Unreadable(String),
    /// It cannot be read from a line on, counted from 1.
    Damaged { line: usize, reason: String },
    /// It ended, and its end is missing.
    Cut,
    /// It ended, and is not listed.
    Unlisted(Box<PastBuild>),
}

/// Looks at what is kept of every build that does not run.
pub(crate) fn check_builds(
    store: &Store,
    repair: Repair,
    checked: &mut Checked,
) -> Result<(), EngineError> {
    let builds = store.builds()?;
    checked.counts.push((Part::Build, builds.len()));
    for build in builds {
        let Some(wrong) = look(store, &build)? else { continue };
        match (repair, &wrong) {
            // A build that is killed after its last line leaves this: whoever asks for the list sets it right.
            (Repair::No, Wrong::Unlisted(_)) => continue,
            (Repair::No, _) => {}
            (Repair::Yes, wrong) => set_right(store, &build.id, wrong)?,
        }
        let (name, repaired) = (build.id, repair == Repair::Yes);
        checked.faults.push(Fault { part: Part::Build, name, what: wrong.in_words(), repaired });
    }
    Ok(())
}

/// Lists builds as ended that are, by their files, and whose rows are lost.
pub(super) fn list_ended(store: &Store, builds: &mut [ListedBuild]) {
    for build in builds.iter_mut().filter(|build| build.state == BuildState::Killed) {
        // What cannot be read is shown as it is.
        let ended = store.open_build(&build.id).is_ok_and(|file| has_end(file).unwrap_or(false));
        let found = if ended { look(store, build).ok().flatten() } else { None };
        let Some(Wrong::Unlisted(past)) = found else { continue };
        match list_again(store, &past) {
            Ok(state) => build.state = state,
            Err(error) => tracing::warn!(%error, id = build.id, "a build is not listed again"),
        }
    }
}

fn look(store: &Store, build: &ListedBuild) -> Result<Option<Wrong>, EngineError> {
    let ListedBuild { id, state } = build;
    let ended = match state {
        BuildState::Running => return Ok(None),
        BuildState::Killed => false,
        BuildState::Ended(_) => true,
    };
    let file = match File::open(store.builds_dir().join(id).join("events")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ended.then_some(Wrong::Absent));
        }
        Err(error) => return Ok(Some(Wrong::Unreadable(error.to_string()))),
    };
    let mut fold = Fold::default();
    let read = reader::read(BufReader::new(file), &mut |line| fold.line(line).map(drop));
    Ok(match read {
        // A later Kiln's is no damage.
        Err(ReadError::Newer { .. }) => None,
        Err(error) => Some(Wrong::Unreadable(error.to_string())),
        Ok((None, _)) => {
            let reason = "there is nothing in it".to_owned();
            ended.then_some(Wrong::Unreadable(reason))
        }
        Ok((_, Extent::Damaged { line, reason })) => Some(Wrong::Damaged { line, reason }),
        Ok((_, Extent::Cut)) => ended.then_some(Wrong::Cut),
        Ok((Some(begin), Extent::Whole)) => (!ended).then(|| {
            let past = fold.finish(id.clone(), begin, Extent::Whole);
            Wrong::Unlisted(Box::new(past))
        }),
    })
}

fn set_right(store: &Store, id: &str, wrong: &Wrong) -> Result<(), EngineError> {
    match wrong {
        Wrong::Absent | Wrong::Unreadable(_) => {
            store.remove_build(id)?;
        }
        Wrong::Damaged { line, .. } => {
            let failed = |source: io::Error| EngineError::BuildRecord {
                id: id.to_owned(),
                reason: source.to_string(),
            };
            let length_bytes = offset_of(store.open_build(id)?, *line).map_err(failed)?;
            store.cut_build(id, length_bytes)?;
        }
        Wrong::Cut => {
            let length_bytes = store.open_build(id)?.metadata().map_or(0, |meta| meta.len());
            store.cut_build(id, length_bytes)?;
        }
        Wrong::Unlisted(past) => {
            list_again(store, past)?;
        }
    }
    Ok(())
}

fn list_again(store: &Store, past: &PastBuild) -> Result<BuildState, EngineError> {
    let size_bytes = store.open_build(&past.id)?.metadata().map_or(0, |meta| meta.len());
    let row = row_of(past, size_bytes);
    store.put_build(&past.id, &row)?;
    Ok(BuildState::Ended(row))
}

impl Wrong {
    fn in_words(&self) -> String {
        match self {
            Self::Absent => "there is nothing of it".to_owned(),
            Self::Unreadable(reason) => format!("it cannot be read: {reason}"),
            Self::Damaged { line, reason } => {
                format!("nothing can be read from its line {line} on: {reason}")
            }
            Self::Cut => "it ended, and the end of its record is missing".to_owned(),
            Self::Unlisted(_) => "it ended, and is not listed".to_owned(),
        }
    }
}

/// Where a line begins, counted from 1.
fn offset_of(file: File, line: usize) -> io::Result<u64> {
    let (mut file, mut text, mut offset) = (BufReader::new(file), Vec::new(), 0);
    for _ in 1..line {
        text.clear();
        offset += file.read_until(b'\n', &mut text)? as u64;
    }
    Ok(offset)
}

/// Whether the last line of a file is that of a build's end.
fn has_end(mut file: File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    let last = tail.strip_suffix(b"\n").and_then(|tail| tail.rsplit(|byte| *byte == b'\n').next());
    Ok(last.is_some_and(|last| matches!(serde_json::from_slice(last), Ok(Line::End(_)))))
}
