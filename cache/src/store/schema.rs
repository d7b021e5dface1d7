//! The database's schema: a list of migrations, of which `user_version` says how many were done.
//!
//! A migration is never changed once a release has written it. Digests of BLAKE3 are blobs of 32 bytes,
//! digests of OCI documents are texts; times are milliseconds since 1970 unless the name says otherwise.
//! Rows with an `epoch` point to files and are described in [`durable`].

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::damage::{self, Access, DATABASE};
use super::db::Db;
use super::lease::Lease;
use super::lock::FileLock;
use super::{durable, proof};
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
", "
    -- How often the images have changed. The index says at which count it was written: it is never ahead.
    ALTER TABLE state ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
    UPDATE state SET index_stale = 1;
    -- Proofs of the rows from which results are taken; see `proof`.
    ALTER TABLE records ADD COLUMN proof INTEGER NOT NULL DEFAULT 0;
    UPDATE records SET proof =
        proof('records', key, layers, created_ms, duration_ms, size_bytes, name);
    ALTER TABLE packed ADD COLUMN proof INTEGER NOT NULL DEFAULT 0;
    UPDATE packed SET proof =
        proof('packed', layer, form, digest, size_bytes, media_type, diff_id);
    ALTER TABLE images ADD COLUMN proof INTEGER NOT NULL DEFAULT 0;
    UPDATE images SET proof =
        proof('images', name, manifest, media_type, manifest_size_bytes, size_bytes, created_ms);
    ALTER TABLE remotes ADD COLUMN proof INTEGER NOT NULL DEFAULT 0;
    UPDATE remotes SET proof = proof('remotes', wanted, version, last_modified, layer);
"];

/// The newest format that this code reads and writes.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// What records need, from the records themselves.
pub(super) const DERIVE_NEEDS: &str = "
    INSERT OR IGNORE INTO needs SELECT records.key, unhex(json_extract(value, '$.digest'))
        FROM records, json_each(records.layers) WHERE json_valid(records.layers);
    INSERT OR IGNORE INTO needs SELECT records.key, unhex(substr(json_extract(value, '$.blob.digest'), 8))
        FROM records, json_each(records.layers) WHERE json_valid(records.layers);
";

/// Opens the database and brings its schema up to date; several processes may do so at once.
///
/// # Errors
/// When it is damaged, or should be there and is not; when it cannot be opened, or a later Kiln wrote it.
pub(super) fn open(root: &Path, lease: &Lease) -> Result<Db, CacheError> {
    let access = Access::shared(root)?;
    let database = root.join(DATABASE);
    if !database.exists() {
        refuse_lost(root, "it is not there")?;
        create(&database, lease)?;
    }
    let db = Db::open(&database, access)?;
    if version(&db)? != KNOWN {
        let lock = root.join("locks/schema");
        // Turning the log on does not wait for others by itself.
        let _lock = FileLock::wait(&lock, "the store to be prepared", &|| false)?;
        if version(&db)? == 0 {
            refuse_lost(root, "it is empty")?;
        }
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

/// Refuses to begin a new database in a store that had one: it would write an index without images.
fn refuse_lost(root: &Path, found: &str) -> Result<(), CacheError> {
    if !root.join("oci/index.json").exists() {
        return Ok(());
    }
    damage::note(root, found);
    Err(CacheError::DamagedStore { path: root.join(DATABASE), found: found.to_owned() })
}

/// Makes all tables in an empty database.
pub(super) fn create_tables(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    MIGRATIONS.iter().try_for_each(|migration| transaction.execute_batch(migration))?;
    transaction.pragma_update(None, "user_version", KNOWN)
}

/// The columns of a table, in their order.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
    columns.query_map([table], |row| row.get(0))?.collect()
}

/// Whether the tables and indexes are those of this format.
pub(super) fn is_known(connection: &Connection) -> rusqlite::Result<bool> {
    let mut blank = Connection::open_in_memory()?;
    proof::register(&blank)?;
    let transaction = blank.transaction()?;
    create_tables(&transaction)?;
    Ok(shape(&transaction)? == shape(connection)?)
}

fn shape(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut parts = connection.prepare(
        "SELECT type || ' ' || name || ' ' || tbl_name, (
            SELECT group_concat(c.name || ' ' || c.type || ' ' || c.pk, ', ')
            FROM pragma_table_info(sqlite_schema.name) AS c)
         FROM sqlite_schema ORDER BY 1",
    )?;
    parts.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Refuses a database that a later Kiln wrote, as far as it can be told: one with tables of this format is damaged.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), CacheError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap_or(0);
    if found > KNOWN && !is_known(connection).unwrap_or(true) {
        return Err(CacheError::NewerStore { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(())
}

fn migrate(db: &Db) -> Result<(), CacheError> {
    let found = version(db)?;
    if found > KNOWN {
        // No later format has the same tables.
        return Err(if db.read("look at the tables", is_known)? {
            let found = format!("its format is said to be {found}");
            let root = db.path().parent().unwrap_or(db.path());
            damage::note(root, &found);
            CacheError::DamagedStore { path: db.path().to_owned(), found }
        } else {
            CacheError::NewerStore { path: db.path().to_owned(), found, known: KNOWN }
        });
    }
    let boot = durable::boot_id()?;
    db.write("bring the schema up to date", |transaction| {
        for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.execute("INSERT OR IGNORE INTO state VALUES (1, ?1, 1, 0, 1, 0)", [boot])?;
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
