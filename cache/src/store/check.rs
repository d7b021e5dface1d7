//! Whether a store is whole, and dropping what is not.
//!
//! Everything is looked at: the database's own integrity, each layer against its manifest and each blob
//! against its digest, byte for byte; then what points to them: records, memos, images, the index; then
//! the names of cache mounts. Other processes may work on the store meanwhile. What seems wrong is looked
//! at again where it could have gone by right in between, and what a process uses is told and left.
//!
//! What is kept of builds is looked at by whoever knows its form.
//!
//! Repairing drops: a record or memo costs a step that runs again, an image that lacks a blob cannot be
//! used in any case. A damaged database is made anew (`rebuild`); nothing else is looked at before
//! that.

use std::path::Path;

use kiln_ir::Digest;
use rayon::prelude::*;
use rusqlite::params;

use super::accounts::{Gone, note_gone};
use super::blobs::digest_of;
use super::claims::{self, Closed, Thing, blob_thing};
use super::damage::{self, DATABASE};
use super::images::note_stale_index;
use super::mounts::{is_taken, mount_name, read_mount_id};
use super::recover::names;
use super::{Rebuilt, Store, lease, proof, schema};
use crate::CacheError;
use crate::layer::remove_tree;

/// What a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The database.
    Database,
    /// A layer's directory.
    Layer,
    /// A blob.
    Blob,
    /// The result of a step.
    Record,
    /// What is remembered of how layers were packed and unpacked.
    Memo,
    /// An image's row.
    Image,
    /// The layout's index.
    Index,
    /// A cache mount.
    Mount,
    /// The staging directory.
    Staging,
    /// What is kept of a build.
    Build,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In what.
    pub part: Part,
    /// In which one.
    pub name: String,
    /// What, as half a sentence.
    pub what: String,
    /// Whether it was dropped, or set right.
    pub repaired: bool,
}

/// Whether faults are dropped, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing is changed; that the database is damaged is noted for whoever opens the store next.
    No,
    /// What is wrong is dropped, unless a process uses it.
    Yes,
}

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many of each part were looked at.
    pub counts: Vec<(Part, usize)>,
    /// What is wrong, in the order of the parts.
    pub faults: Vec<Fault>,
    /// What came of making a damaged database anew.
    pub rebuilt: Option<Rebuilt>,
}

/// As [`Store::check`], of a store that may be too damaged to be opened. Answers the store, too, unless its database is
/// damaged.
///
/// # Errors
/// When the store cannot be read, or not be repaired.
pub fn check(root: &Path, repair: Repair) -> Result<(Option<Store>, Checked), CacheError> {
    match repair {
        Repair::No => {
            let checked = Store::open(root).and_then(|store| {
                let checked = store.check(repair)?;
                Ok((Some(store).filter(|_| !checked.is_damaged()), checked))
            });
            match checked {
                Err(error) if error.is_damaged_store() => {
                    Ok((None, Checked::damaged(&damage::found(root))))
                }
                checked => checked,
            }
        }
        Repair::Yes => {
            let (store, rebuilt) = Store::open_or_rebuild(root)?;
            let found = match store.check(repair) {
                Err(error) if error.is_damaged_store() => Checked::damaged(&damage::found(root)),
                found => found?,
            };
            let Some(fault) = found.faults.iter().find(|fault| fault.part == Part::Database) else {
                return Ok((Some(store), found.after(rebuilt)));
            };
            damage::note(root, &fault.what);
            drop(store);
            let (store, again) = Store::open_or_rebuild(root)?;
            let checked = store.check(repair)?.after(again.or(rebuilt));
            Ok((Some(store), checked))
        }
    }
}

impl Checked {
    fn is_damaged(&self) -> bool {
        self.faults.iter().any(|fault| fault.part == Part::Database)
    }

    fn damaged(found: &str) -> Self {
        let (part, name) = (Part::Database, DATABASE.to_owned());
        let fault = Fault { part, name, what: found.to_owned(), repaired: false };
        Self { counts: vec![(part, 1)], faults: vec![fault], rebuilt: None }
    }

    /// With the damage that was repaired before the check.
    fn after(mut self, rebuilt: Option<Rebuilt>) -> Self {
        if let Some(rebuilt) = rebuilt {
            let mut damaged = Self::damaged(&rebuilt.found).faults;
            damaged.iter_mut().for_each(|fault| fault.repaired = true);
            self.faults.splice(0..0, damaged);
            self.rebuilt = Some(rebuilt);
        }
        self
    }
}

impl Store {
    /// Looks at everything, and drops what is wrong if that is wanted. Reads all layers and blobs.
    ///
    /// # Errors
    /// When the store cannot be read, or not be repaired.
    pub fn check(&self, repair: Repair) -> Result<Checked, CacheError> {
        let mut check = Check { store: self, repair, checked: Checked::default() };
        check.database()?;
        if !check.checked.faults.is_empty() {
            return Ok(check.checked);
        }
        check.layers()?;
        check.blobs()?;
        check.records()?;
        check.memos()?;
        check.images()?;
        check.mounts()?;
        check.staging()?;
        Ok(check.checked)
    }
}

struct Check<'a> {
    store: &'a Store,
    repair: Repair,
    checked: Checked,
}

impl Check<'_> {
    fn count(&mut self, part: Part, count: usize) {
        self.checked.counts.push((part, count));
    }

    fn fault(
        &mut self,
        part: Part,
        name: impl Into<String>,
        what: impl Into<String>,
        repaired: bool,
    ) {
        self.checked.faults.push(Fault { part, name: name.into(), what: what.into(), repaired });
    }

    fn database(&mut self) -> Result<(), CacheError> {
        let found = self.store.db.read("check the database", |connection| {
            let mut integrity = connection.prepare("PRAGMA integrity_check")?;
            let found = integrity.query_map([], |row| row.get::<_, String>(0))?;
            let mut found: Vec<String> = found.collect::<Result<_, _>>()?;
            found.retain(|what| what != "ok");
            if !schema::is_known(connection)? {
                found.push("its tables are not those of its format".to_owned());
            }
            for (table, proof) in proof::TABLES {
                let query = format!("SELECT count(*) FROM {table} WHERE proof <> {proof}");
                let wrong: i64 = connection.query_row(&query, [], |row| row.get(0))?;
                if wrong > 0 {
                    found.push(format!("{wrong} of the rows of `{table}` are not as written"));
                }
            }
            Ok(found)
        })?;
        self.count(Part::Database, 1);
        for what in found {
            // SQLite tells one thing in several lines.
            self.fault(Part::Database, DATABASE, what.replace('\n', "; "), false);
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), CacheError> {
        let dir = self.store.layers_dir();
        let layers = self.store.layers();
        let names = names(&dir)?;
        self.count(Part::Layer, names.len());
        let verify = |name: &String| {
            let what = match name.parse::<Digest>() {
                Ok(digest) => layers.verify(&digest)?,
                Err(_) => "its name is no digest".to_owned(),
            };
            Some((name.clone(), what))
        };
        let wrong: Vec<_> = names.par_iter().filter_map(verify).collect();
        for (name, what) in wrong {
            let thing = name.parse::<Digest>().ok().map(|digest| *digest.as_bytes());
            self.drop_thing(Part::Layer, &dir.join(&name), thing, what)?;
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), CacheError> {
        let dir = self.store.blobs_dir();
        let names = names(&dir)?;
        self.count(Part::Blob, names.len());
        let verify = |name: &String| {
            let found = std::fs::File::open(dir.join(name)).and_then(digest_of);
            let what = match found {
                Ok(found) if found == format!("sha256:{name}") => return None,
                Ok(found) => format!("its bytes are {found}"),
                Err(error) => format!("it cannot be read: {error}"),
            };
            Some((name.clone(), what))
        };
        let wrong: Vec<_> = names.par_iter().filter_map(verify).collect();
        for (name, what) in wrong {
            let thing = blob_thing(&format!("sha256:{name}")).ok();
            self.drop_thing(Part::Blob, &dir.join(&name), thing, what)?;
        }
        Ok(())
    }

    /// Moves a layer or blob away, unless it is used or gone by now.
    fn drop_thing(
        &mut self,
        part: Part,
        path: &Path,
        thing: Option<Thing>,
        what: String,
    ) -> Result<(), CacheError> {
        let store = self.store;
        let closed = Closed::close(&store.gate())?;
        if std::fs::symlink_metadata(path).is_err() {
            // Collected meanwhile.
            return Ok(());
        }
        let used = claims::all(&store.root.join("staging"))?;
        let free = thing.is_none_or(|thing| !used.contains(&thing));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if self.repair == Repair::No || !free {
            let what = if free { what } else { format!("{what}, and a process uses it") };
            self.fault(part, name, what, false);
            return Ok(());
        }
        let bin = store.lease.fresh_path("damaged");
        std::fs::rename(path, &bin).map_err(CacheError::io("move away", path))?;
        drop(closed);
        if bin.is_dir() {
            remove_tree(&bin)?;
        } else {
            std::fs::remove_file(&bin).map_err(CacheError::io("delete", &bin))?;
        }
        self.fault(part, name, what, true);
        Ok(())
    }

    /// Records whose layers or blobs are not all there.
    fn records(&mut self) -> Result<(), CacheError> {
        let (records, needs) = self.store.db.read("list the records", |connection| {
            let records: Vec<(Thing, String)> = connection
                .prepare("SELECT key, name FROM records")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let needs: Vec<(Thing, Thing)> = connection
                .prepare("SELECT key, thing FROM needs")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok((records, needs))
        })?;
        self.count(Part::Record, records.len());
        let lacking: std::collections::BTreeMap<Thing, Thing> =
            needs.into_iter().filter(|(_, thing)| !self.store.is_there(thing)).collect();
        for (key, name) in records {
            let Some(thing) = lacking.get(&key) else { continue };
            let dropped = self.change("drop a record", |transaction| {
                transaction.execute("DELETE FROM needs WHERE key = ?1", [key])?;
                note_gone(transaction, &key, Gone::Damaged)?;
                transaction.execute("DELETE FROM records WHERE key = ?1", [key])
            })?;
            let what = format!("{} of it is not there", Digest::from_bytes(*thing).short());
            self.fault(Part::Record, name, what, dropped);
        }
        Ok(())
    }

    /// Memos that point to what is not there. They are looked at whenever they are used: no harm.
    fn memos(&mut self) -> Result<(), CacheError> {
        let (packed, unpacked) = self.store.db.read("list the memos", |connection| {
            let packed: Vec<String> = connection
                .prepare("SELECT digest FROM packed")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let unpacked: Vec<Thing> = connection
                .prepare("SELECT layer FROM unpacked")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok((packed, unpacked))
        })?;
        self.count(Part::Memo, packed.len() + unpacked.len());
        if self.repair == Repair::No {
            return Ok(());
        }
        let blobs = packed
            .iter()
            .filter(|digest| !blob_thing(digest).is_ok_and(|thing| self.store.is_there(&thing)));
        let layers = unpacked.iter().filter(|layer| !self.store.is_there(layer));
        self.store.db.write("drop memos", |transaction| {
            for digest in blobs {
                transaction.execute("DELETE FROM packed WHERE digest = ?1", [digest])?;
            }
            for layer in layers {
                transaction.execute("DELETE FROM unpacked WHERE layer = ?1", [layer])?;
            }
            Ok(())
        })
    }

    fn images(&mut self) -> Result<(), CacheError> {
        let images = self.store.images()?;
        self.count(Part::Image, images.len());
        let mut changed = false;
        for (name, image) in images {
            if self.store.is_whole(&image.manifest)? {
                continue;
            }
            let dropped = self.change("drop an image", |transaction| {
                note_stale_index(transaction)?;
                transaction.execute(
                    "DELETE FROM images WHERE name = ?1 AND manifest = ?2",
                    params![name, image.manifest],
                )
            })?;
            changed |= dropped;
            self.fault(Part::Image, name, "a blob of it is not there", dropped);
        }
        if changed {
            self.store.refresh_index()?;
        }
        if !self.store.index_is_right()? {
            if self.repair == Repair::Yes {
                self.store.refresh_index()?;
            }
            let what = "it does not list the images";
            self.fault(Part::Index, "index.json", what, self.repair == Repair::Yes);
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<(), CacheError> {
        let dir = self.store.mounts_dir();
        let names = names(&dir)?;
        self.count(Part::Mount, names.len());
        for name in names {
            let path = dir.join(&name);
            if mount_name(&read_mount_id(&path)) == name {
                continue;
            }
            let what = "it does not say whose it is";
            let closed = Closed::close(&self.store.gate())?;
            if self.repair == Repair::No || is_taken(&path, &closed).unwrap_or(false) {
                self.fault(Part::Mount, name, what, false);
                continue;
            }
            let bin = self.store.lease.fresh_path("damaged");
            std::fs::rename(&path, &bin).map_err(CacheError::io("move away", &path))?;
            drop(closed);
            remove_tree(&bin)?;
            self.fault(Part::Mount, name, what, true);
        }
        Ok(())
    }

    /// What dead processes left was swept when the store was opened; what is there belongs to the living.
    fn staging(&mut self) -> Result<(), CacheError> {
        let staging = self.store.root.join("staging");
        self.count(Part::Staging, names(&staging)?.len());
        for rubbish in lease::dead(&staging)? {
            let repaired = self.repair == Repair::Yes;
            let name = rubbish.name();
            if repaired {
                lease::delete(&rubbish)?;
            }
            self.fault(Part::Staging, name, "nobody is at work on it", repaired);
        }
        Ok(())
    }

    /// Makes a change if that is wanted; says whether it did.
    fn change<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<bool, CacheError> {
        if self.repair == Repair::No {
            return Ok(false);
        }
        self.store.db.write(step, run).map(|_| true)
    }
}

impl Store {
    fn is_there(&self, thing: &Thing) -> bool {
        let name = Digest::from_bytes(*thing).to_string();
        self.layers_dir().join(&name).exists() || self.blobs_dir().join(name).exists()
    }
}
