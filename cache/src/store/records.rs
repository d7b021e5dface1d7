//! Records in the database and in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_ir::Digest;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::claims::{Thing, blob_thing};
use super::db::Db;
use super::lock::{NameLock, poll};
use super::proof;
use super::{now_ms, signed, unsigned};
use crate::{BlobRef, CacheError, CacheKey, LayerRef, Record, RecordStore};

/// A record that was noted as taken within this time is not noted again.
const NOTED_MS: i64 = 60_000;
/// What a wait for an action is called.
const ACTION: &str = "another build that runs the same step";

/// Records that outlive the process, shared by every process that opens the store.
#[derive(Debug, Clone)]
pub struct DiskStore {
    db: Db,
    locks: PathBuf,
    /// Records that were taken and that the database believes to be long unused.
    taken: Arc<Mutex<BTreeSet<CacheKey>>>,
}

impl DiskStore {
    pub(super) fn new(db: Db, locks: &Path) -> Self {
        Self { db, locks: locks.to_owned(), taken: Arc::default() }
    }

    /// Takes out what there is to note at the end of a build: nothing when each record that was found was
    /// noted within the last minute.
    pub(super) fn take_noted(&self) -> Taken {
        Taken(std::mem::take(&mut *enter(&self.taken)))
    }
}

/// Records that were found and are in use today.
#[derive(Debug)]
pub(super) struct Taken(BTreeSet<CacheKey>);

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn note(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut note =
            transaction.prepare_cached("UPDATE records SET used_ms = ?2 WHERE key = ?1")?;
        let now = now_ms();
        for key in &self.0 {
            note.execute(params![key.digest().as_bytes(), now])?;
        }
        Ok(())
    }
}

impl DiskStore {
    /// Remembers several results at once; see [`RecordStore::put`].
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_all<'r>(
        &self,
        records: impl Iterator<Item = (&'r CacheKey, &'r Record)>,
    ) -> Result<(), CacheError> {
        self.db.publish("write a record", |transaction, epoch| {
            for (key, record) in records {
                put(transaction, epoch, key, record)?;
            }
            Ok(())
        })
    }
}

impl DiskStore {
    /// How long the newest actions of these names took, in the names' order; nothing for one not known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn durations(&self, names: &[&str]) -> Result<Vec<Option<Duration>>, CacheError> {
        self.db.read("read the durations of steps", |connection| {
            let mut newest = connection.prepare_cached(
                "SELECT duration_ms FROM records WHERE name = ?1 ORDER BY created_ms DESC LIMIT 1",
            )?;
            let of = |name| {
                let milliseconds = newest.query_row([name], |row| row.get(0)).optional()?;
                Ok(milliseconds.map(|milliseconds| Duration::from_millis(unsigned(milliseconds))))
            };
            names.iter().map(of).collect()
        })
    }
}

impl DiskStore {
    /// Whether an action of this name gave so many bytes or more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has_of_size(&self, name: &str, size_bytes: u64) -> Result<bool, CacheError> {
        self.db.read("look for results of a size", |connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM records WHERE name = ?1 AND size_bytes >= ?2)",
                )?
                .query_row(params![name, signed(size_bytes)], |row| row.get(0))
        })
    }

    /// What a lookup found, unless it makes no sense; notes that it is in use.
    fn take(&self, key: &CacheKey, row: Option<(Option<Record>, i64)>) -> Option<Record> {
        let (record, used_ms) = row?;
        let Some(record) = record else {
            tracing::warn!(%key, "a record makes no sense and is passed over");
            return None;
        };
        if used_ms < now_ms() - NOTED_MS {
            enter(&self.taken).insert(*key);
        }
        Some(record)
    }
}

impl RecordStore for DiskStore {
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let row = self.db.read("read a record", |connection| find(connection, key))?;
        Ok(self.take(key, row))
    }

    fn peek(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let row = self.db.peek("read a record", |connection| find(connection, key))?;
        Ok(self.take(key, row.flatten()))
    }

    fn end_peeking(&self) {
        self.db.end_peeking();
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        self.put_all([(key, record)].into_iter())
    }

    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError> {
        let path = self.locks.join("actions");
        let lock = NameLock::wait(&path, key.digest(), ACTION, cancelled)?;
        Ok(ActionLock(Held::Name(lock)))
    }
}

/// The query of a record: put together once, for a build may look up thousands.
static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT layers, created_ms, duration_ms, size_bytes, name, used_ms, proof = {}
         FROM records WHERE key = ?1",
        proof::RECORDS
    )
});

/// A record's row, if there is one: nothing for the record if it makes no sense, and when it was last noted as used.
fn find(
    connection: &Connection,
    key: &CacheKey,
) -> rusqlite::Result<Option<(Option<Record>, i64)>> {
    connection
        .prepare_cached(&FIND)?
        .query_row([key.digest().as_bytes()], |row| {
            let record = if row.get(6)? { decode(row)? } else { None };
            Ok((record, row.get(5)?))
        })
        .optional()
}

fn put(
    transaction: &Transaction<'_>,
    epoch: i64,
    key: &CacheKey,
    record: &Record,
) -> rusqlite::Result<()> {
    let mut layer = transaction.prepare_cached(
        "INSERT INTO layers VALUES (?1, ?2, NULL)
         ON CONFLICT DO UPDATE SET epoch = ?2 WHERE epoch <> ?2",
    )?;
    for LayerRef { digest, blob: _ } in &record.layers {
        // Also a layer known before: its directory may have gone and been made again.
        layer.execute(params![digest.as_bytes(), epoch])?;
    }
    note_needs(transaction, key, record)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                proof('records', ?1, ?2, ?3, ?4, ?5, ?6))",
        )?
        .execute(params![
            key.digest().as_bytes(),
            encode_layers(&record.layers)?,
            record.created_ms,
            signed(record.duration_ms),
            signed(record.size_bytes),
            record.name,
            epoch,
            now_ms()
        ])?;
    Ok(())
}

/// Writes down what a record needs, in place of what an earlier one of its key did.
fn note_needs(
    transaction: &Transaction<'_>,
    key: &CacheKey,
    record: &Record,
) -> rusqlite::Result<()> {
    let key = key.digest();
    let needed: BTreeSet<Thing> = record.layers.iter().flat_map(things).collect();
    let noted: BTreeSet<Thing> = transaction
        .prepare_cached("SELECT thing FROM needs WHERE key = ?1")?
        .query_map([key.as_bytes()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    // A step that ran again often gave the same, and each page that is written costs as much as a system call.
    let mut drop_one =
        transaction.prepare_cached("DELETE FROM needs WHERE key = ?1 AND thing = ?2")?;
    for thing in noted.difference(&needed) {
        drop_one.execute([key.as_bytes(), thing])?;
    }
    let mut need = transaction.prepare_cached("INSERT INTO needs VALUES (?1, ?2)")?;
    for thing in needed.difference(&noted) {
        need.execute([key.as_bytes(), thing])?;
    }
    Ok(())
}

/// What a layer stands for in the table of needs.
fn things(LayerRef { digest, blob }: &LayerRef) -> impl Iterator<Item = Thing> {
    // What is no digest is no blob of this store's either.
    let blob = blob.as_ref().and_then(|blob| blob_thing(&blob.digest).ok());
    std::iter::once(*digest.as_bytes()).chain(blob)
}

/// Records of one process, for tests and for builds without a store.
#[derive(Debug, Clone, Default)]
pub struct MemStore {
    records: Arc<Mutex<BTreeMap<CacheKey, Record>>>,
    held: Arc<Mutex<BTreeSet<CacheKey>>>,
}

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl RecordStore for MemStore {
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        Ok(enter(&self.records).get(key).cloned())
    }

    fn peek(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        self.get(key)
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        enter(&self.records).insert(*key, record.clone());
        Ok(())
    }

    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError> {
        let held = poll(ACTION, cancelled, || {
            let free = enter(&self.held).insert(*key);
            Ok(free.then(|| HeldKey { held: Arc::clone(&self.held), key: *key }))
        })?;
        Ok(ActionLock(Held::Memory(held)))
    }
}

/// The right to run one action: nobody else has it until this is dropped.
#[derive(Debug)]
#[must_use = "the action is let go at once when this is dropped"]
pub struct ActionLock(
    #[expect(dead_code, reason = "held for what happens when it is dropped")] Held,
);

#[derive(Debug)]
#[expect(dead_code, reason = "held for what happens when it is dropped")]
enum Held {
    Name(NameLock),
    Memory(HeldKey),
}

#[derive(Debug)]
struct HeldKey {
    held: Arc<Mutex<BTreeSet<CacheKey>>>,
    key: CacheKey,
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        enter(&self.held).remove(&self.key);
    }
}

fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one call on a map: there is no half of it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer as the `layers` column has it.
#[derive(Serialize, Deserialize)]
struct LayerRow {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BlobRef>,
}

fn encode_layers(layers: &[LayerRef]) -> rusqlite::Result<String> {
    let rows: Vec<LayerRow> = layers
        .iter()
        .map(|layer| LayerRow { digest: layer.digest.to_string(), blob: layer.blob.clone() })
        .collect();
    serde_json::to_string(&rows)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A row; nothing when its layers make no sense.
fn decode(row: &Row<'_>) -> rusqlite::Result<Option<Record>> {
    let Some(layers) = decode_layers(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    Ok(Some(Record {
        layers,
        created_ms: row.get(1)?,
        duration_ms: unsigned(row.get(2)?),
        size_bytes: unsigned(row.get(3)?),
        name: row.get(4)?,
    }))
}

fn decode_layers(text: &str) -> Option<Vec<LayerRef>> {
    let rows: Vec<LayerRow> = serde_json::from_str(text).ok()?;
    let layer = |LayerRow { digest, blob }: LayerRow| {
        let digest: Digest = digest.parse().ok()?;
        Some(LayerRef { digest, blob })
    };
    rows.into_iter().map(layer).collect()
}
