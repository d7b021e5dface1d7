//! Taking away what was chosen, batch by batch, each looked at again; see [`super`] for why that is safe.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use kiln_ir::Digest;
use rusqlite::{Params, Transaction, params};

use super::inventory::{Inventory, Item, Target};
use super::reach::{Reach, reach};
use super::{Collected, EntryKind};
use crate::CacheError;
use crate::layer::remove_tree;
use crate::store::accounts::{Gone, note_gone};
use crate::store::claims::{self, Closed};
use crate::store::images::note_stale_index;
use crate::store::mounts::is_taken;
use crate::store::{Store, Thing};

/// Entries that go while the gate is closed once: a few milliseconds.
const BATCH: usize = 64;
/// `selections` may have this many rows, and a few for each record.
const SELECTIONS_MAX: i64 = 10_000;

/// What a batch came to, while the gate is still closed.
struct Batch {
    /// Dropped when all is renamed.
    closed: Closed,
    /// Places in the inventory of entries whose rows went.
    gone: Vec<usize>,
    /// Layers and blobs to take away.
    things: Vec<Thing>,
    /// Mounts and contexts to take away.
    others: Vec<PathBuf>,
}

/// One collection on its way.
struct Sweep<'a> {
    store: &'a Store,
    inventory: &'a Inventory,
    all: bool,
    /// What images reach, by manifest: neither changes.
    reached: BTreeMap<String, Reach>,
    collected: Collected,
    /// Where what was renamed is.
    bins: Vec<PathBuf>,
}

/// Takes away the chosen items, where that is still right.
pub(super) fn sweep(
    store: &Store,
    inventory: Inventory,
    chosen: &[usize],
    all: bool,
) -> Result<Collected, CacheError> {
    let mut sweep = Sweep {
        store,
        inventory: &inventory,
        all,
        reached: BTreeMap::new(),
        collected: Collected::default(),
        bins: Vec::new(),
    };
    let mut images_went = false;
    let mut result = Ok(());
    // Images go before all else, so that none ever stands in the table without its blobs.
    let is_image = |at: &&usize| inventory.items[**at].entry.kind == EntryKind::Image;
    let (images, others): (Vec<_>, Vec<_>) = chosen.iter().partition(is_image);
    for batch in images.chunks(BATCH).chain(others.chunks(BATCH)) {
        result = sweep.batch(batch);
        // Some of what this very collection frees.
        if result.as_ref().is_err_and(CacheError::is_disk_full) && store.drop_ballast()? {
            result = sweep.batch(batch);
        }
        images_went |= batch.iter().any(is_image);
        result = result.and(sweep.empty_bins());
        if result.is_err() {
            break;
        }
    }
    store.take_ballast();
    if images_went {
        store.refresh_index()?;
    }
    store.trim_selections()?;
    store.trim_accounts()?;
    result?;
    Ok(sweep.collected)
}

impl Sweep<'_> {
    fn batch(&mut self, items: &[&usize]) -> Result<(), CacheError> {
        let store = self.store;
        let step = "collect what is not used";
        let Batch { closed, gone, things, others } = store.db.write_with(step, |transaction| {
            self.reach_images(transaction).map_err(store.db.failed(step))?;
            let closed = Closed::close(&store.gate())?;
            let claimed = claims::all(&store.root.join("staging"))?;
            let held = Held { sweep: self, claimed, transaction };
            held.delete(items, closed).map_err(store.db.failed(step))
        })?;
        for thing in &things {
            if self.take_away(&store.place_of(thing))? {
                self.collected.reclaimed_bytes += self.inventory.size_of(thing);
            }
        }
        for path in others {
            self.take_away(&path)?;
        }
        drop(closed);
        for at in gone {
            let item = &self.inventory.items[at];
            self.collected.reclaimed_bytes += item.own_bytes;
            self.collected.entries.push(item.entry.clone());
        }
        Ok(())
    }

    /// Deletes what was renamed; all of it that can be.
    fn empty_bins(&mut self) -> Result<(), CacheError> {
        let mut result = Ok(());
        for bin in self.bins.drain(..) {
            let removed = if bin.is_dir() {
                remove_tree(&bin)
            } else {
                std::fs::remove_file(&bin).map_err(CacheError::io("delete", &bin))
            };
            result = result.and(removed);
        }
        result
    }

    /// Sees to it that of all images in the table it is known what they reach.
    fn reach_images(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let blobs = self.store.blobs_dir();
        let mut list = transaction.prepare_cached("SELECT manifest FROM images")?;
        let manifests: BTreeSet<String> =
            list.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        self.reached.retain(|manifest, _| manifests.contains(manifest));
        for manifest in manifests {
            let entry = self.reached.entry(manifest);
            entry.or_insert_with_key(|manifest| reach(&blobs, manifest));
        }
        Ok(())
    }

    /// Moves something into the bin; says whether it was there.
    fn take_away(&mut self, path: &std::path::Path) -> Result<bool, CacheError> {
        let bin = self.store.lease.fresh_path("bin");
        match std::fs::rename(path, &bin) {
            Ok(()) => {
                self.bins.push(bin);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CacheError::io("move away", path)(error)),
        }
    }
}

/// What keeps things, while nothing of it changes.
struct Held<'a, 'b> {
    sweep: &'a Sweep<'b>,
    claimed: HashSet<Thing>,
    transaction: &'a Transaction<'a>,
}

impl Held<'_, '_> {
    fn delete(&self, items: &[&usize], closed: Closed) -> rusqlite::Result<Batch> {
        let (mut gone, mut others, mut wanted) = (Vec::new(), Vec::new(), BTreeSet::new());
        for &&at in items {
            let item = &self.sweep.inventory.items[at];
            if self.delete_row(item, &closed, &mut others)? {
                gone.push(at);
                wanted.extend(item.needs.iter().copied());
            }
        }
        let images = self.images()?;
        let mut things = Vec::new();
        for thing in wanted {
            if !self.is_held(&thing, &images)? {
                self.forget(&thing)?;
                things.push(thing);
            }
        }
        Ok(Batch { closed, gone, things, others })
    }

    /// Deletes what stands for the item, unless it is used by now; says whether it did.
    fn delete_row(
        &self,
        item: &Item,
        closed: &Closed,
        others: &mut Vec<PathBuf>,
    ) -> rusqlite::Result<bool> {
        let store = self.sweep.store;
        match &item.target {
            Target::Record { key, used_ms } => {
                Ok(!self.is_claimed(item) && self.delete_record(key, *used_ms)?)
            }
            Target::Image { name, manifest } => {
                Ok(!self.is_claimed(item) && self.delete_image(name, manifest)?)
            }
            Target::Mount { name } => self.delete_mount(name, closed, others),
            Target::Context { name } => {
                others.push(store.contexts_dir().join(name));
                Ok(true)
            }
            Target::Remote { wanted } => Ok(!self.is_claimed(item)
                && self.execute("DELETE FROM remotes WHERE wanted = ?1", [wanted])? > 0),
            Target::Repository { name } => Ok(self.take_repository(name, others)),
            // Whether it stays is asked of it as of any thing.
            Target::Thing => Ok(!self.is_claimed(item)),
        }
    }

    /// Whether a process uses what the item needs.
    fn is_claimed(&self, item: &Item) -> bool {
        item.needs.iter().any(|thing| self.claimed.contains(thing))
    }

    fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
        self.transaction.prepare_cached(sql)?.execute(parameters)
    }

    /// Deletes a record, unless it was put or taken since it was looked at.
    fn delete_record(&self, key: &[u8; 32], used_ms: i64) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM records WHERE key = ?1 AND used_ms = ?2";
        let deleted = self.execute(sql, params![key, used_ms])? > 0;
        if deleted {
            self.execute("DELETE FROM needs WHERE key = ?1", [key])?;
            note_gone(self.transaction, key, Gone::Collected)?;
        }
        Ok(deleted)
    }

    /// Deletes an image, unless its name has moved since it was looked at.
    fn delete_image(&self, name: &str, manifest: &str) -> rusqlite::Result<bool> {
        note_stale_index(self.transaction)?;
        let sql = "DELETE FROM images WHERE name = ?1 AND manifest = ?2";
        Ok(self.execute(sql, [name, manifest])? > 0)
    }

    /// Has a cache mount taken away, unless somebody has one of its slots.
    fn delete_mount(
        &self,
        name: &str,
        closed: &Closed,
        others: &mut Vec<PathBuf>,
    ) -> rusqlite::Result<bool> {
        let path = self.sweep.store.mounts_dir().join(name);
        // A lock that cannot be tried may be held.
        if is_taken(&path, closed).unwrap_or(true) {
            return Ok(false);
        }
        self.execute("DELETE FROM mounts WHERE name = ?1", [name])?;
        others.push(path);
        Ok(true)
    }

    /// Has a repository taken away, unless somebody has its lock.
    fn take_repository(&self, name: &str, others: &mut Vec<PathBuf>) -> bool {
        let store = self.sweep.store;
        // A lock that cannot be tried may be held.
        let free = store.is_repository_free(name).unwrap_or(false);
        if free {
            others.push(store.repositories_dir().join(name));
        }
        free
    }

    /// What the images that are left keep: blobs, and unless all is asked for those with a name layers.
    fn images(&self) -> rusqlite::Result<HashSet<Thing>> {
        let mut list = self.transaction.prepare_cached("SELECT name, manifest FROM images")?;
        let mut layer =
            self.transaction.prepare_cached("SELECT layer FROM unpacked WHERE diff_id = ?1")?;
        let mut kept = HashSet::new();
        let mut rows = list.query([])?;
        while let Some(row) = rows.next()? {
            let (name, manifest) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            let Some(reach) = self.sweep.reached.get(manifest) else { continue };
            kept.extend(&reach.blobs);
            if self.sweep.all || name == manifest {
                continue;
            }
            for diff_id in &reach.diff_ids {
                let layers = layer.query_map([diff_id], |row| row.get::<_, Thing>(0))?;
                kept.extend(layers.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(kept)
    }

    fn is_held(&self, thing: &Thing, images: &HashSet<Thing>) -> rusqlite::Result<bool> {
        if self.claimed.contains(thing) || images.contains(thing) {
            return Ok(true);
        }
        let mut needed = self.transaction.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM needs WHERE thing = ?1) OR EXISTS (
                SELECT 1 FROM packed JOIN needs ON needs.thing = packed.layer
                WHERE packed.digest = ?2)
             OR EXISTS (SELECT 1 FROM remotes WHERE layer = ?1)",
        )?;
        needed.query_row(params![thing, blob_name(thing)], |row| row.get(0))
    }

    /// Deletes the rows of a layer or blob, and the memos that speak of it.
    fn forget(&self, thing: &Thing) -> rusqlite::Result<()> {
        for sql in [
            "DELETE FROM layers WHERE digest = ?1",
            "DELETE FROM packed WHERE layer = ?1",
            "DELETE FROM unpacked WHERE layer = ?1",
        ] {
            self.execute(sql, [thing])?;
        }
        for sql in ["DELETE FROM blobs WHERE digest = ?1", "DELETE FROM packed WHERE digest = ?1"] {
            self.execute(sql, [blob_name(thing)])?;
        }
        Ok(())
    }
}

impl Store {
    /// Where a layer or blob is: what the one is called, the other is not.
    pub(super) fn place_of(&self, thing: &Thing) -> PathBuf {
        let name = Digest::from_bytes(*thing).to_string();
        let layer = self.layers_dir().join(&name);
        if layer.exists() { layer } else { self.blobs_dir().join(name) }
    }

    /// Empties the memos of selections when they are many more than can still be asked for.
    fn trim_selections(&self) -> Result<(), CacheError> {
        self.db.write("trim the memos of selections", |transaction| {
            transaction.execute(
                "DELETE FROM selections WHERE (SELECT count(*) FROM selections)
                    > ?1 + 4 * (SELECT count(*) FROM records)",
                [SELECTIONS_MAX],
            )
        })?;
        Ok(())
    }
}

fn blob_name(thing: &Thing) -> String {
    format!("sha256:{}", Digest::from_bytes(*thing))
}
