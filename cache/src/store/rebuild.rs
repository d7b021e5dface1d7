//! Making a damaged database anew.
//!
//! By whoever opens the store next, or asks for it, with the database for oneself alone ([`damage`]). A kill or a loss
//! of power at any point leaves either the note, and with it all that the next attempt needs, or the new database:
//!
//! 1. The damaged files get a second name in the note's directory `rebuild/`: the log first, so that the database is
//!    there only when both are.
//! 2. A new database is made in the staging directory: what can be read of the damaged one
//!    ([`salvage`](super::salvage)), and the names of images that the layout's index knows; where the index is newer
//!    than the database, as it has them.
//! 3. The damaged log goes, then the new database takes the place of the damaged one. Nobody opens it yet.
//! 4. `rebuild/` becomes `set-aside/`, in place of what an earlier damage left there. From here on the store is open.
//!
//! An attempt that finds the damaged database in `rebuild/` begins with step 2.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, params};

use super::damage::{self, Access, DATABASE};
use super::gc::{Sum, allocated_bytes, reach};
use super::images::{IndexedImage, generation_of, listed};
use super::lease::Lease;
use super::mounts::modified_ms;
use super::salvage::{Salvaged, salvage};
use super::{Store, ballast, proof, schema, signed, unsigned};
use crate::CacheError;
use crate::layer::remove_tree;

/// How long it waits for other processes: most are about to end by the same damage.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the last damaged database lies.
const SET_ASIDE: &str = "set-aside";
/// What SQLite keeps beside a database.
const LOG: &str = "kiln.db-wal";
const LOG_INDEX: &str = "kiln.db-shm";
/// The largest index that is read.
const INDEX_MAX_BYTES: u64 = 256 << 20;

/// What a database was made from anew, and what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong, on one line.
    pub found: String,
    /// Where the damaged database lies; nothing when there was none at all.
    pub set_aside: Option<PathBuf>,
    /// How many results of steps were saved.
    pub records: u64,
    /// Whether results of steps were lost.
    pub lost_records: bool,
    /// The names of images that only the layout's index had.
    pub images_from_index: Vec<String>,
    /// Whether images may be lost: neither the table nor the index could be read to its end.
    pub lost_images: bool,
}

impl Store {
    /// What the last damaged database takes.
    pub(super) fn set_aside_sum(&self) -> Sum {
        let kept = self.root().join(SET_ASIDE);
        if !kept.exists() {
            return Sum::default();
        }
        Sum { count: 1, size_bytes: allocated_bytes(&kept), ..Sum::default() }
    }
}

/// Makes the database of the store anew; nothing when another process did meanwhile.
pub(super) fn rebuild(root: &Path) -> Result<Option<Rebuilt>, CacheError> {
    let mut lease = Lease::take(&root.join("staging"))?;
    let begun = Instant::now();
    let Some(_alone) = Access::alone(root, &|| begun.elapsed() > PATIENCE)? else {
        return Err(CacheError::DamagedStoreInUse { path: root.join(DATABASE) });
    };
    let note = damage::note_of(root);
    if !note.is_dir() {
        return Ok(None);
    }
    tracing::warn!(root = %root.display(), "making the database anew");
    let found = damage::found(root);
    set_aside(root, &note)?;
    let made = match make(root, &note, &lease) {
        Err(error) if error.is_disk_full() && ballast::drop_from(root)? => {
            make(root, &note, &lease)?
        }
        made => made?,
    };
    put_in_place(root, &made.path)?;
    let set_aside = finish(root, &note, &lease)?;
    lease.release()?;
    Ok(Some(Rebuilt { found, set_aside, ..made.rebuilt }))
}

/// Step 1.
fn set_aside(root: &Path, note: &Path) -> Result<(), CacheError> {
    if note.join(DATABASE).exists() {
        return Ok(());
    }
    for part in [LOG, DATABASE] {
        let (from, to) = (root.join(part), note.join(part));
        gone(fs::remove_file(&to)).map_err(CacheError::io("delete", &to))?;
        gone(fs::hard_link(&from, &to)).map_err(CacheError::io("set aside", &from))?;
        sync(note)?;
    }
    sync(root)
}

/// A new database that has its name not yet.
struct Made {
    path: PathBuf,
    rebuilt: Rebuilt,
}

/// Step 2.
fn make(root: &Path, note: &Path, lease: &Lease) -> Result<Made, CacheError> {
    let path = lease.fresh_path("database");
    let created = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
    created.map(drop).map_err(CacheError::io("create", &path))?;
    let damaged = note.join(DATABASE);
    let source = if damaged.exists() { read_damaged(&damaged) } else { None };
    if let Some(source) = &source {
        schema::refuse_newer(source, &root.join(DATABASE))?;
    }
    let failed =
        |source| CacheError::Sql { step: "save what can be read", path: path.clone(), source };
    let rebuilt = fill(root, source.as_ref(), &path).map_err(|error| {
        // Half of it would be in the way of another attempt on a full disk.
        drop(fs::remove_file(&path));
        failed(error)
    })?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(CacheError::io("sync", &path))?;
    Ok(Made { path, rebuilt })
}

/// Opens the damaged database as far as that is possible, without changing it.
fn read_damaged(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    // A table can be read that stands in the schema beside one that makes no sense.
    connection.pragma_update(None, "writable_schema", true).ok()?;
    Some(connection)
}

fn fill(root: &Path, source: Option<&Connection>, path: &Path) -> rusqlite::Result<Rebuilt> {
    let mut target = Connection::open(path)?;
    proof::register(&target)?;
    // Nobody sees it before it is whole and synced.
    target.pragma_update(None, "synchronous", false)?;
    target.pragma_update(None, "journal_mode", "MEMORY")?;
    let transaction = target.transaction()?;
    schema::create_tables(&transaction)?;
    let salvaged = salvage(source, &transaction)?;
    let rebuilt = add_images(root, &transaction, &salvaged)?;
    transaction.commit()?;
    target.pragma_update(None, "journal_mode", "WAL")?;
    target.close().map_err(|(_, error)| error)?;
    Ok(rebuilt)
}

/// Adds the images that the index lists and the table lacks.
fn add_images(
    root: &Path,
    target: &Transaction<'_>,
    salvaged: &Salvaged,
) -> rusqlite::Result<Rebuilt> {
    let is_cut = |table| salvaged.incomplete.contains(table);
    let index = root.join("oci/index.json");
    let written = generation_of(&index);
    let is_newer = salvaged.generation.is_none_or(|generation| generation < written);
    target.execute("UPDATE state SET generation = max(generation, ?1)", [written])?;
    let indexed = fs::metadata(&index)
        .ok()
        .filter(|meta| meta.len() <= INDEX_MAX_BYTES)
        .and_then(|_| listed(&fs::read(&index).ok()?));
    let mut rebuilt = Rebuilt {
        found: String::new(),
        set_aside: None,
        records: target
            .query_row("SELECT count(*) FROM records", [], |row| row.get(0).map(unsigned))?,
        lost_records: is_cut("records") || is_newer,
        images_from_index: Vec::new(),
        lost_images: indexed.is_none() && is_cut("images"),
    };
    // A table that is whole and newer than the index knows of names that were taken away.
    if salvaged.index_is_stale && !is_cut("images") {
        return Ok(rebuilt);
    }
    let Some(indexed) = indexed else { return Ok(rebuilt) };
    if is_newer {
        drop_others(target, &indexed)?;
    }
    for (name, image) in indexed {
        if add_image(root, target, &name, &image)? {
            rebuilt.images_from_index.push(name);
        }
    }
    Ok(rebuilt)
}

/// Drops the images that an index does not list, or with another manifest.
fn drop_others(
    target: &Transaction<'_>,
    indexed: &[(String, IndexedImage)],
) -> rusqlite::Result<()> {
    let listed: BTreeSet<(&str, &str)> =
        indexed.iter().map(|(name, image)| (name.as_str(), image.manifest.as_str())).collect();
    let mut rows = target.prepare("SELECT name, manifest FROM images")?;
    let rows =
        rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for (name, manifest) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        if !listed.contains(&(name.as_str(), manifest.as_str())) {
            target.execute("DELETE FROM images WHERE name = ?1", [name])?;
        }
    }
    Ok(())
}

/// Adds an image unless it is there; says whether it did.
fn add_image(
    root: &Path,
    target: &Transaction<'_>,
    name: &str,
    image: &IndexedImage,
) -> rusqlite::Result<bool> {
    let blobs = root.join("oci/blobs/sha256");
    let (size_bytes, stored_ms) = {
        let path =
            |thing: &super::Thing| blobs.join(kiln_ir::Digest::from_bytes(*thing).to_string());
        let found = reach(&blobs, &image.manifest).blobs;
        let sizes =
            found.iter().map(|thing| fs::metadata(path(thing)).map_or(0, |meta| meta.len()));
        let manifest = super::claims::blob_thing(&image.manifest);
        (sizes.sum(), manifest.map_or(0, |thing| modified_ms(&path(&thing))))
    };
    let added = target.execute(
        "INSERT OR IGNORE INTO images VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT epoch FROM state),
            proof('images', ?1, ?2, ?3, ?4, ?5, ?6))",
        params![
            name,
            image.manifest,
            image.media_type,
            signed(image.manifest_size_bytes),
            signed(size_bytes),
            stored_ms
        ],
    )?;
    Ok(added > 0)
}

/// Step 3.
fn put_in_place(root: &Path, made: &Path) -> Result<(), CacheError> {
    for part in [LOG_INDEX, LOG] {
        let path = root.join(part);
        gone(fs::remove_file(&path)).map_err(CacheError::io("delete", &path))?;
    }
    sync(root)?;
    let path = root.join(DATABASE);
    fs::rename(made, &path).map_err(CacheError::io("put in place", &path))?;
    sync(root)
}

/// Step 4; answers where the damaged database lies.
fn finish(root: &Path, note: &Path, lease: &Lease) -> Result<Option<PathBuf>, CacheError> {
    let (kept, index) = (root.join(SET_ASIDE), note.join(LOG_INDEX));
    gone(fs::remove_file(&index)).map_err(CacheError::io("delete", &index))?;
    if kept.exists() {
        let bin = lease.fresh_path("set-aside");
        fs::rename(&kept, &bin).map_err(CacheError::io("move away", &kept))?;
    }
    let any = note.join(DATABASE).exists();
    fs::rename(note, &kept).map_err(CacheError::io("put in place", &kept))?;
    sync(root)?;
    if any {
        return Ok(Some(kept));
    }
    remove_tree(&kept)?;
    Ok(None)
}

/// That something is not there is fine.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CacheError::io("sync", dir))
}
