//! The database's schema: a list of migrations, of which `user_version` says how many were done.
//!
//! A migration is never changed once a release has written it. Digests of BLAKE3 are blobs of 32 bytes,
//! digests of OCI documents are texts; times are milliseconds since 1970 unless the name says otherwise.
//! Rows with an `epoch` point to files and are described in [`durable`].

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::OptionalExtension;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::db::Db;
use super::durable;
use super::lease::Lease;
use super::lock::FileLock;
use crate::CacheError;

const MIGRATIONS: &[&str] = &["
    -- One row: the boot that last opened the store, the epoch that new rows carry, the last epoch whose
    -- rows and files are known to be on the disk, and whether index.json lags behind the images.
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        boot TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        durable_epoch INTEGER NOT NULL,
        index_stale INTEGER NOT NULL
    ) STRICT;
    -- Results of actions. `layers` is JSON.
    CREATE TABLE records (
        key BLOB PRIMARY KEY,
        layers TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        name TEXT NOT NULL,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Layer directories that some record named.
    CREATE TABLE layers (
        digest BLOB PRIMARY KEY,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Blobs of the OCI layout.
    CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- What a layer was packed as, by the manner of packing.
    CREATE TABLE packed (
        layer BLOB NOT NULL,
        form TEXT NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        diff_id TEXT NOT NULL,
        PRIMARY KEY (layer, form)
    ) STRICT, WITHOUT ROWID;
    -- Layers that archives of images were unpacked to, by the digest of the plain archive.
    CREATE TABLE unpacked (
        diff_id TEXT PRIMARY KEY,
        layer BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Named images. The manifest is a blob.
    CREATE TABLE images (
        name TEXT PRIMARY KEY,
        manifest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        manifest_size_bytes INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- What a selection of a snapshot's files came to.
    CREATE TABLE selections (
        snapshot BLOB NOT NULL,
        selection BLOB NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (snapshot, selection)
    ) STRICT, WITHOUT ROWID;
", "
    -- What addresses gave when they were last asked. `wanted` is a digest of all that was asked for.
    CREATE TABLE remotes (
        wanted BLOB PRIMARY KEY,
        version TEXT,
        last_modified TEXT,
        layer BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
", "
    -- For collections. When a record was last taken, to the minute.
    ALTER TABLE records ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0;
    UPDATE records SET used_ms = created_ms;
    -- What a layer's directory takes on the disk; nothing until somebody measured it.
    ALTER TABLE layers ADD COLUMN size_bytes INTEGER;
    -- What each record needs: layers by their digest, blobs by the bytes of theirs.
    CREATE TABLE needs (
        key BLOB NOT NULL,
        thing BLOB NOT NULL,
        PRIMARY KEY (key, thing)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX needs_by_thing ON needs (thing);
    INSERT OR IGNORE INTO needs SELECT records.key, unhex(json_extract(value, '$.digest'))
        FROM records, json_each(records.layers) WHERE json_valid(records.layers);
    INSERT OR IGNORE INTO needs SELECT records.key, unhex(substr(json_extract(value, '$.blob.digest'), 8))
        FROM records, json_each(records.layers) WHERE json_valid(records.layers);
    CREATE INDEX packed_by_blob ON packed (digest);
    CREATE INDEX unpacked_by_layer ON unpacked (layer);
    -- What a cache mount took on the disk when it was last measured.
    CREATE TABLE mounts (
        name TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        measured_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
", "
    -- Builds that ended; see `builds`. `status` is completed, error or canceled.
    CREATE TABLE builds (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        cached_steps INTEGER NOT NULL,
        image TEXT,
        size_bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
", "
    -- How long a step of this name took the last time.
    CREATE INDEX records_by_name ON records (name, created_ms, duration_ms);
", "
    -- What actions were made of, for people; see `accounts`. `missed` says why the action had to run, `gone` why
    -- there is no record any more: `account` is empty then.
    CREATE TABLE accounts (
        key BLOB PRIMARY KEY,
        stage BLOB NOT NULL,
        step INTEGER NOT NULL,
        kind TEXT NOT NULL,
        made_ms INTEGER NOT NULL,
        missed TEXT NOT NULL,
        account TEXT NOT NULL,
        gone TEXT
    ) STRICT;
    CREATE INDEX accounts_by_stage ON accounts (stage, kind, made_ms);
    CREATE INDEX accounts_by_kind ON accounts (kind, made_ms);
    -- The files of selections, by the digest of the selection.
    CREATE TABLE listings (
        digest BLOB PRIMARY KEY,
        files BLOB NOT NULL
    ) STRICT;
    -- Which accounts the lists are kept for.
    CREATE TABLE listed (
        key BLOB NOT NULL,
        selection BLOB NOT NULL,
        PRIMARY KEY (key, selection)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX listed_by_selection ON listed (selection);
"];

/// The newest format that this code reads and writes.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Opens the database and brings its schema up to date; several processes may do so at once.
pub(super) fn open(database: &Path, locks: &Path, lease: &Lease) -> Result<Db, CacheError> {
    if !database.exists() {
        create(database, lease)?;
    }
    let db = Db::open(database)?;
    if version(&db)? != KNOWN {
        // Turning the log on does not wait for others by itself.
        let _lock = FileLock::wait(&locks.join("schema"), "the store to be prepared", &|| false)?;
        db.read("turn the write-ahead log on", |connection| {
            connection.pragma_update(None, "journal_mode", "WAL")
        })?;
        migrate(&db)?;
    }
    Ok(db)
}

/// Makes the file for its owner alone. It is closed before it has its name: closing a database file that
/// SQLite has open elsewhere in the process would drop SQLite's locks.
fn create(database: &Path, lease: &Lease) -> Result<(), CacheError> {
    let staged = lease.fresh_path("database");
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&staged)
        .map(drop)
        .map_err(CacheError::io("create", &staged))?;
    match renameat_with(CWD, &staged, CWD, database, RenameFlags::NOREPLACE) {
        // Another process was first.
        Err(Errno::EXIST) => Ok(()),
        other => other.map_err(CacheError::io("put in place", database)),
    }
}

fn migrate(db: &Db) -> Result<(), CacheError> {
    let found = version(db)?;
    if found > KNOWN {
        let path = db.path().to_owned();
        return Err(CacheError::NewerStore { path, found, known: KNOWN });
    }
    let boot = durable::boot_id()?;
    db.write("bring the schema up to date", |transaction| {
        for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.execute("INSERT OR IGNORE INTO state VALUES (1, ?1, 1, 0, 1)", [boot])?;
        transaction.pragma_update(None, "user_version", KNOWN)
    })
}

fn version(db: &Db) -> Result<i64, CacheError> {
    db.read("read the store's format", |connection| {
        let version =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).optional()?;
        Ok(version.unwrap_or(0))
    })
}
