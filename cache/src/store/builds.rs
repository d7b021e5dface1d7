//! What is kept of builds: for each a directory under `builds/`, and a row once it has ended.
//!
//! `builds/<id>/events` is the one file of a build; what is in it is the business of whoever writes it. An id
//! is 13 characters: the milliseconds since 1970 as nine digits to the base of 32, then four more at random, so
//! that ids sort by time. The writer holds a lock on the file until the build has ended. Hence there are three
//! kinds of directories: with a row, of a build that ended; without a row and locked, of one that runs; without
//! a row and not locked, of one that was killed.
//!
//! Rows carry no epoch: nothing that is built depends on them, and whoever reads a file that a loss of power
//! tore says so. Absent: what an event is, and what people see of a build.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use super::gc::{Sum, allocated_bytes};
use super::lock::{Sharing, attempt};
use super::recover::names;
use super::{DiskStore, Store, now_ms, signed, unsigned};
use crate::CacheError;

/// The name of a build's one file.
const EVENTS: &str = "events";
/// Digits of ids: no letter among them that looks like another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of an id that tell the time, and those that tell two builds of one millisecond apart.
const TIME_DIGITS: usize = 9;
const RANDOM_DIGITS: usize = 4;

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildStatus {
    /// Well.
    Completed,
    /// With an error.
    Failed,
    /// By its caller's wish.
    Cancelled,
}

/// What is known of a build without reading its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// What people call it.
    pub name: String,
    /// How it ended.
    pub status: BuildStatus,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
    /// How long it took.
    pub duration_ms: u64,
    /// How many steps it had.
    pub steps: u32,
    /// How many of them were taken from the cache.
    pub cached_steps: u32,
    /// `sha256:…` of the image's manifest or index, if there is one.
    pub image: Option<String>,
    /// The length of its file.
    pub size_bytes: u64,
}

/// A build that something is kept of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBuild {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub state: BuildState,
}

/// How a build stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildState {
    /// It ended.
    Ended(BuildRow),
    /// It runs.
    Running,
    /// It was killed, or has just begun or ended.
    Killed,
}

/// How much is kept of builds that ended. The latest goes before all limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildLimits {
    /// How many.
    pub count: u32,
    /// For how long after they began.
    pub age: Duration,
    /// How long all their files may be together.
    pub size_bytes: u64,
}

/// The file of a build that runs.
#[derive(Debug)]
pub struct BuildFile {
    id: String,
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl BuildFile {
    /// The build's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How much was written.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.file.write_all(bytes).map_err(CacheError::io("write", &self.path))?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Store {
    /// Makes the file of a build that began at a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn new_build(&self, began_ms: i64) -> Result<BuildFile, CacheError> {
        loop {
            if let Some(file) = self.import_build(&fresh_id(began_ms))? {
                return Ok(file);
            }
        }
    }

    /// Makes the file of a build of another store; nothing when this store has one of the same id.
    ///
    /// # Errors
    /// When the disk refuses.
    ///
    /// # Panics
    /// When the id has not the form of one.
    pub fn import_build(&self, id: &str) -> Result<Option<BuildFile>, CacheError> {
        assert!(is_build_id(id), "`{id}` is no id of a build");
        let dir = self.builds_dir().join(id);
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(CacheError::io("create the directory", &dir))?,
        }
        let path = dir.join(EVENTS);
        let mut options = OpenOptions::new();
        let opened = options.create_new(true).append(true).mode(0o600).open(&path);
        let file = opened.map_err(CacheError::io("create", &path))?;
        // Who looks whether it is locked lets go at once.
        file.lock().map_err(CacheError::io("lock", &path))?;
        Ok(Some(BuildFile { id: id.to_owned(), path, file, size_bytes: 0 }))
    }

    /// Notes at the end of a build that the records that were found are in use today, and how the build
    /// ended. What of earlier builds is over the limits goes, unless it is not worth the time yet. One transaction, if there is anything to note.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is wrong then, but the build is not listed, and records
    /// seem less used.
    pub fn note_build(
        &self,
        records: &DiskStore,
        build: Option<(&str, &BuildRow)>,
        limits: &BuildLimits,
    ) -> Result<(), CacheError> {
        let taken = records.take_noted();
        if taken.is_empty() && build.is_none() {
            return Ok(());
        }
        let gone = self.db.write("note a build", |transaction| {
            taken.note(transaction)?;
            let Some((id, row)) = build else { return Ok(Vec::new()) };
            insert(transaction, id, row)?;
            if is_far_beyond(transaction, limits)? {
                delete_beyond(transaction, limits, now_ms())
            } else {
                Ok(Vec::new())
            }
        })?;
        self.delete_builds(&gone)
    }

    /// Lists a build as one that ended, whatever the limits are.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_build(&self, id: &str, row: &BuildRow) -> Result<(), CacheError> {
        self.db.write("note a build", |transaction| insert(transaction, id, row))
    }

    /// Cuts the file of a build that does not run after as many bytes, and takes it for one that was killed: its end
    /// is not there.
    ///
    /// # Errors
    /// When the database or the disk refuses.
    pub fn cut_build(&self, id: &str, length_bytes: u64) -> Result<(), CacheError> {
        self.db.write("remove a build", |transaction| {
            transaction.execute("DELETE FROM builds WHERE id = ?1", [id])
        })?;
        let path = self.build_path(id);
        let opened = OpenOptions::new().write(true).open(&path);
        opened.and_then(|file| file.set_len(length_bytes)).map_err(CacheError::io("cut", &path))
    }

    /// What is kept of builds, and what of it is over the limits.
    ///
    /// # Errors
    /// When the database or the directory cannot be read.
    pub fn builds_sum(&self, limits: &BuildLimits) -> Result<Sum, CacheError> {
        let now = now_ms();
        let mut beyond: Vec<String> =
            self.db.read("look at the limits of builds", |connection| {
                let mut beyond = connection.prepare(BEYOND)?;
                let ids = beyond.query_map(beyond_params(limits, now), |row| row.get(0))?;
                ids.collect()
            })?;
        beyond.extend(self.killed_beyond(limits, now)?);
        let mut sum = Sum::default();
        for ListedBuild { id, state } in self.builds()? {
            let size_bytes = allocated_bytes(&self.builds_dir().join(&id));
            sum.count += 1;
            sum.active += usize::from(state == BuildState::Running);
            sum.size_bytes += size_bytes;
            sum.reclaimable_bytes += if beyond.contains(&id) { size_bytes } else { 0 };
        }
        Ok(sum)
    }

    /// All builds that something is kept of, the latest first.
    ///
    /// # Errors
    /// When the database or the directory cannot be read.
    pub fn builds(&self) -> Result<Vec<ListedBuild>, CacheError> {
        // Directories first: of a build that ends in between there is a row then.
        let mut dirs = names(&self.builds_dir())?;
        let mut listed = self.db.read("list the builds", |connection| {
            let mut list = connection.prepare(
                "SELECT id, name, status, created_ms, duration_ms, steps, cached_steps, image, size_bytes
                 FROM builds",
            )?;
            let rows = list.query_map([], decode)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        dirs.retain(|dir| is_build_id(dir) && !listed.iter().any(|build| build.id == *dir));
        for id in dirs {
            let state =
                if self.is_running(&id)? { BuildState::Running } else { BuildState::Killed };
            listed.push(ListedBuild { id, state });
        }
        listed.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(listed)
    }

    /// The file of a build, to be read.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open_build(&self, id: &str) -> Result<File, CacheError> {
        let path = self.build_path(id);
        File::open(&path).map_err(CacheError::io("open", &path))
    }

    /// Whether the process of a build lives and has not ended the build yet.
    ///
    /// # Errors
    /// When the build's file cannot be looked at.
    pub fn is_running(&self, id: &str) -> Result<bool, CacheError> {
        let path = self.build_path(id);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(CacheError::io("open", &path))?,
        };
        Ok(!attempt(&file, &path, Sharing::Shared)?)
    }

    /// Removes what is kept of a build, unless it runs; says whether it did.
    ///
    /// # Errors
    /// When the database or the disk refuses.
    pub fn remove_build(&self, id: &str) -> Result<bool, CacheError> {
        if self.is_running(id)? {
            return Ok(false);
        }
        self.db.write("remove a build", |transaction| {
            transaction.execute("DELETE FROM builds WHERE id = ?1", [id])
        })?;
        self.delete_builds(&[id.to_owned()])?;
        Ok(true)
    }

    /// Removes what is over the limits, and what is left of builds that were killed and began before the
    /// limits' age.
    ///
    /// # Errors
    /// When the database or the disk refuses.
    pub fn trim_builds(&self, limits: &BuildLimits) -> Result<(), CacheError> {
        let now = now_ms();
        let gone = self.db.write("remove builds over the limits", |transaction| {
            delete_beyond(transaction, limits, now)
        })?;
        self.delete_builds(&gone)?;
        self.delete_builds(&self.killed_beyond(limits, now)?)
    }

    /// The builds that were killed and are over the limits.
    fn killed_beyond(&self, limits: &BuildLimits, now: i64) -> Result<Vec<String>, CacheError> {
        let old = time_digits(oldest_ms(limits, now));
        let killed = self.builds()?.into_iter().filter(|build| build.state == BuildState::Killed);
        let beyond = killed.enumerate().filter(|(place, build)| {
            build.id[..TIME_DIGITS] < *old || *place >= limits.count as usize
        });
        Ok(beyond.map(|(_, build)| build.id).collect())
    }

    /// Where a build's file is; its name may come from anywhere.
    fn build_path(&self, id: &str) -> PathBuf {
        let name = if is_build_id(id) { id } else { "none" };
        self.builds_dir().join(name).join(EVENTS)
    }

    fn delete_builds(&self, ids: &[String]) -> Result<(), CacheError> {
        let there = |result: io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(CacheError::io("delete", path)),
        };
        for id in ids.iter().filter(|id| is_build_id(id)) {
            let path = self.build_path(id);
            there(std::fs::remove_file(&path), &path)?;
            let dir = self.builds_dir().join(id);
            there(std::fs::remove_dir(&dir), &dir)?;
        }
        Ok(())
    }
}

/// Whether a text has the form of a build's id.
#[must_use]
pub fn is_build_id(text: &str) -> bool {
    text.len() == TIME_DIGITS + RANDOM_DIGITS && text.bytes().all(|byte| DIGITS.contains(&byte))
}

fn fresh_id(began_ms: i64) -> String {
    // The keys of a fresh hasher are the process's own source of chance; a name that is taken is tried again.
    let random = RandomState::new().hash_one(std::process::id());
    time_digits(began_ms) + &digits(random, RANDOM_DIGITS)
}

fn time_digits(ms: i64) -> String {
    digits(unsigned(ms), TIME_DIGITS)
}

/// The last digits of a number to the base of 32.
fn digits(number: u64, count: usize) -> String {
    let digit = |place: usize| char::from(DIGITS[(number >> (5 * place)) as usize % DIGITS.len()]);
    (0..count).rev().map(digit).collect()
}

fn oldest_ms(limits: &BuildLimits, now: i64) -> i64 {
    now.saturating_sub(i64::try_from(limits.age.as_millis()).unwrap_or(i64::MAX))
}

fn insert(transaction: &Transaction<'_>, id: &str, row: &BuildRow) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO builds VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id,
            row.name,
            status_name(row.status),
            row.created_ms,
            signed(row.duration_ms),
            row.steps,
            row.cached_steps,
            row.image,
            signed(row.size_bytes)
        ])?;
    Ok(())
}

/// Whether so much is over the limits that it is worth a build's time to take it away: an eighth of their number
/// or size, and anything that is too old.
fn is_far_beyond(transaction: &Transaction<'_>, limits: &BuildLimits) -> rusqlite::Result<bool> {
    let count = limits.count.saturating_add(limits.count / 8);
    let size_bytes = limits.size_bytes.saturating_add(limits.size_bytes / 8);
    let mut sums = transaction.prepare_cached(
        "SELECT count(*) > ?1 OR sum(size_bytes) > ?2 OR min(created_ms) < ?3 FROM builds",
    )?;
    let oldest = oldest_ms(limits, now_ms());
    sums.query_row(params![count, signed(size_bytes), oldest], |row| row.get(0))
}

/// Deletes the rows that are over the limits, but the latest; answers their ids.
fn delete_beyond(
    transaction: &Transaction<'_>,
    limits: &BuildLimits,
    now: i64,
) -> rusqlite::Result<Vec<String>> {
    let delete = format!("DELETE FROM builds WHERE id IN ({BEYOND}) RETURNING id");
    let mut delete = transaction.prepare_cached(&delete)?;
    let gone = delete.query_map(beyond_params(limits, now), |row| row.get(0))?;
    gone.collect()
}

/// The builds that ended and are over the limits; its parameters are [`beyond_params`].
const BEYOND: &str = "
    SELECT id FROM (
        SELECT id, created_ms, row_number() OVER latest AS place, sum(size_bytes) OVER latest AS bytes
        FROM builds WINDOW latest AS (ORDER BY id DESC)
    ) WHERE place > 1 AND (place > ?1 OR bytes > ?2 OR created_ms < ?3)";

fn beyond_params(limits: &BuildLimits, now: i64) -> (u32, i64, i64) {
    (limits.count, signed(limits.size_bytes), oldest_ms(limits, now))
}

fn decode(row: &Row<'_>) -> rusqlite::Result<ListedBuild> {
    let status = match row.get_ref(2)?.as_str()? {
        "completed" => BuildStatus::Completed,
        "error" => BuildStatus::Failed,
        "canceled" => BuildStatus::Cancelled,
        _ => return Err(rusqlite::Error::InvalidColumnType(2, "status".to_owned(), Type::Text)),
    };
    let state = BuildState::Ended(BuildRow {
        name: row.get(1)?,
        status,
        created_ms: row.get(3)?,
        duration_ms: unsigned(row.get(4)?),
        steps: row.get(5)?,
        cached_steps: row.get(6)?,
        image: row.get(7)?,
        size_bytes: unsigned(row.get(8)?),
    });
    Ok(ListedBuild { id: row.get(0)?, state })
}

const fn status_name(status: BuildStatus) -> &'static str {
    match status {
        BuildStatus::Completed => "completed",
        BuildStatus::Failed => "error",
        BuildStatus::Cancelled => "canceled",
    }
}
