//! What there is, looked at without any lock. By the time somebody acts on it, it may be out of date.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use kiln_ir::Digest;
use rusqlite::Connection;

use super::measure::allocated_bytes;
use super::reach::reach;
use super::{Entry, EntryKind, Sum};
use crate::CacheError;
use crate::store::claims::{self, Closed, blob_thing};
use crate::store::mounts::{is_taken, modified_ms, read_mount_id, taken_at_ms};
use crate::store::{Store, Thing, unsigned};

/// Nobody knows how long it takes to fill a cache mount again: as if it were a minute.
const MOUNT_MS: u64 = 60_000;
/// As if it took half a minute to fetch something again.
const FETCH_MS: u64 = 30_000;
/// As if it took a second to read a context again, or to put an image together from its steps.
const QUICK_MS: u64 = 1_000;

/// An entry, and what to do about it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: Entry,
    pub(super) target: Target,
    /// The layers and blobs that it needs, on the disk or not.
    pub(super) needs: Vec<Thing>,
    /// What goes with the entry itself, in bytes on the disk.
    pub(super) own_bytes: u64,
}

/// What stands behind an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Record {
        key: [u8; 32],
        used_ms: i64,
    },
    Image {
        name: String,
        manifest: String,
    },
    Mount {
        name: String,
    },
    Context {
        name: String,
    },
    Remote {
        wanted: [u8; 32],
    },
    Repository {
        name: String,
    },
    /// A layer or blob by itself.
    Thing,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) items: Vec<Item>,
    /// Layers and blobs on the disk, with what they take there.
    sizes: HashMap<Thing, u64>,
    /// Blobs that named images reach.
    named: HashSet<Thing>,
    /// Layers of which a named image has a packed form.
    image_layers: HashSet<Thing>,
    claimed: HashSet<Thing>,
    /// How many images have a name.
    named_images: usize,
}

impl Inventory {
    /// Looks at everything; layers that nobody has measured are measured.
    pub(super) fn take(store: &Store) -> Result<Self, CacheError> {
        store.measure_layers()?;
        let mut inventory =
            Self { claimed: claims::all(&store.root.join("staging"))?, ..Self::default() };
        let rows = store.db.read("list what there is", Rows::read)?;
        inventory.find_layers(store, &rows)?;
        inventory.find_blobs(store)?;
        inventory.find_images(store, &rows)?;
        inventory.add_records(&rows);
        inventory.add_mounts(store, &rows)?;
        inventory.add_contexts(store)?;
        inventory.add_remotes(store, &rows)?;
        inventory.add_leftovers();
        Ok(inventory)
    }

    /// Whether something besides entries keeps the thing.
    pub(super) fn is_held(&self, thing: &Thing, all: bool) -> bool {
        self.named.contains(thing)
            || self.claimed.contains(thing)
            || (!all && self.image_layers.contains(thing))
    }

    /// What a layer or blob takes on the disk.
    pub(super) fn size_of(&self, thing: &Thing) -> u64 {
        self.sizes.get(thing).copied().unwrap_or(0)
    }

    /// What all entries take together: everything but the blobs of named images.
    pub(super) fn cache_bytes(&self) -> u64 {
        let things = self.sizes.iter().filter(|(thing, _)| !self.named.contains(*thing));
        let own = self.items.iter().map(|item| item.own_bytes);
        things.map(|(_, size)| *size).chain(own).sum()
    }

    /// The sums of images: those with a name are in use.
    pub(super) fn images_sum(&self) -> Sum {
        let entries: Vec<_> = self.items.iter().map(|item| item.entry.clone()).collect();
        let nameless = Sum::of(&entries, &[EntryKind::Image]);
        let named: u64 = self.named.iter().map(|thing| self.size_of(thing)).sum();
        Sum {
            count: nameless.count + self.named_images,
            active: nameless.active + self.named_images,
            size_bytes: nameless.size_bytes + named,
            reclaimable_bytes: nameless.reclaimable_bytes,
        }
    }

    /// The sums of steps and leftovers, each layer and blob counted once.
    pub(super) fn steps_sum(&self) -> Sum {
        let is_step =
            |item: &&Item| matches!(item.entry.kind, EntryKind::Step | EntryKind::Leftover);
        let steps: Vec<_> = self.items.iter().filter(is_step).collect();
        let once = |items: &mut dyn Iterator<Item = &&Item>| -> u64 {
            let things: HashSet<Thing> =
                items.flat_map(|item| item.needs.iter().copied()).collect();
            let free = things.iter().filter(|thing| !self.named.contains(*thing));
            free.map(|thing| self.size_of(thing)).sum()
        };
        let used = |item: &&&Item| item.entry.in_use || item.entry.shared;
        let size_bytes = once(&mut steps.iter());
        let used_bytes = once(&mut steps.iter().filter(used));
        Sum {
            count: steps.len(),
            active: steps.iter().filter(used).count(),
            size_bytes,
            reclaimable_bytes: size_bytes - used_bytes,
        }
    }

    fn find_layers(&mut self, store: &Store, rows: &Rows) -> Result<(), CacheError> {
        for (name, path) in listed(&store.layers_dir())? {
            let Ok(digest) = name.parse::<Digest>() else { continue };
            let size = rows.layers.get(digest.as_bytes()).copied().flatten();
            let size = size.unwrap_or_else(|| allocated_bytes(&path));
            self.sizes.insert(*digest.as_bytes(), size);
        }
        Ok(())
    }

    fn find_blobs(&mut self, store: &Store) -> Result<(), CacheError> {
        for (name, path) in listed(&store.blobs_dir())? {
            if let Ok(thing) = blob_thing(&format!("sha256:{name}")) {
                self.sizes.insert(thing, allocated_bytes(&path));
            }
        }
        Ok(())
    }

    fn find_images(&mut self, store: &Store, rows: &Rows) -> Result<(), CacheError> {
        let blobs = store.blobs_dir();
        for (name, image) in store.images()? {
            let found = reach(&blobs, &image.manifest);
            if name != image.manifest {
                self.named_images += 1;
                self.named.extend(&found.blobs);
                let layers = found.diff_ids.iter().filter_map(|id| rows.unpacked.get(id));
                self.image_layers.extend(layers);
                continue;
            }
            // The row's own time is the image's, which may be set to any.
            let made_ms = blob_thing(&name)
                .ok()
                .map_or(0, |thing| modified_ms(&blobs.join(Digest::from_bytes(thing).to_string())));
            let entry = Entry {
                id: name.trim_start_matches("sha256:").to_owned(),
                kind: EntryKind::Image,
                size_bytes: 0,
                created_ms: image.created_ms,
                used_ms: made_ms,
                duration_ms: QUICK_MS,
                description: "image without a name".to_owned(),
                in_use: blob_thing(&name).is_ok_and(|thing| self.claimed.contains(&thing)),
                shared: false,
            };
            let target = Target::Image { name, manifest: image.manifest };
            let needs = found.blobs.into_iter().collect();
            self.items.push(Item { entry, target, needs, own_bytes: 0 });
        }
        // Known only now that all names are.
        for at in 0..self.items.len() {
            self.items[at].entry.size_bytes = self.unnamed_bytes(&self.items[at].needs);
        }
        Ok(())
    }

    fn unnamed_bytes(&self, needs: &[Thing]) -> u64 {
        let unnamed = needs.iter().filter(|thing| !self.named.contains(*thing));
        unnamed.map(|thing| self.size_of(thing)).sum()
    }

    fn add_records(&mut self, rows: &Rows) {
        for row in &rows.records {
            let mut needs = rows.needs.get(&row.key).cloned().unwrap_or_default();
            let layers = needs.clone();
            let packed = layers.iter().filter_map(|layer| rows.packed.get(layer)).flatten();
            needs.extend(packed);
            needs.sort_unstable();
            needs.dedup();
            let entry = Entry {
                id: Digest::from_bytes(row.key).to_string(),
                kind: EntryKind::Step,
                size_bytes: self.unnamed_bytes(&needs),
                created_ms: row.created_ms,
                used_ms: row.used_ms,
                duration_ms: row.duration_ms,
                description: row.name.clone(),
                in_use: layers.iter().any(|layer| self.claimed.contains(layer)),
                shared: layers.iter().any(|layer| self.image_layers.contains(layer)),
            };
            let target = Target::Record { key: row.key, used_ms: row.used_ms };
            self.items.push(Item { entry, target, needs, own_bytes: 0 });
        }
    }

    fn add_mounts(&mut self, store: &Store, rows: &Rows) -> Result<(), CacheError> {
        for (name, path) in listed(&store.mounts_dir())? {
            let used_ms = taken_at_ms(&path);
            let known = rows.mounts.get(&name).copied();
            let size_bytes = store.measured_mount(&name, used_ms, known)?;
            let closed = Closed::close(&store.gate())?;
            let in_use = is_taken(&path, &closed)?;
            drop(closed);
            let entry = Entry {
                id: name.clone(),
                kind: EntryKind::CacheMount,
                size_bytes,
                created_ms: modified_ms(&path.join("id")),
                used_ms,
                duration_ms: MOUNT_MS,
                description: format!("cache mount {}", read_mount_id(&path)),
                in_use,
                shared: false,
            };
            let (target, needs) = (Target::Mount { name }, Vec::new());
            self.items.push(Item { entry, target, needs, own_bytes: size_bytes });
        }
        Ok(())
    }

    fn add_contexts(&mut self, store: &Store) -> Result<(), CacheError> {
        let dir = store.contexts_dir();
        if !dir.is_dir() {
            return Ok(());
        }
        for (name, path) in listed(&dir)? {
            let (size_bytes, used_ms) = (allocated_bytes(&path), modified_ms(&path));
            let entry = Entry {
                id: name.clone(),
                kind: EntryKind::Context,
                size_bytes,
                created_ms: used_ms,
                used_ms,
                duration_ms: QUICK_MS,
                description: "files of a build context".to_owned(),
                in_use: false,
                shared: false,
            };
            let (target, needs) = (Target::Context { name }, Vec::new());
            self.items.push(Item { entry, target, needs, own_bytes: size_bytes });
        }
        Ok(())
    }

    /// What addresses gave, and repositories.
    fn add_remotes(&mut self, store: &Store, rows: &Rows) -> Result<(), CacheError> {
        let remote = |id, size_bytes, used_ms, in_use, description: &str| Entry {
            id,
            kind: EntryKind::Remote,
            size_bytes,
            created_ms: used_ms,
            used_ms,
            duration_ms: FETCH_MS,
            description: description.to_owned(),
            in_use,
            shared: false,
        };
        for (wanted, layer) in &rows.remotes {
            let made_ms = modified_ms(&store.place_of(layer).join("manifest"));
            let (id, in_use) = (Digest::from_bytes(*wanted), self.claimed.contains(layer));
            let size_bytes = self.size_of(layer);
            let entry = remote(id.to_string(), size_bytes, made_ms, in_use, "download or commit");
            let target = Target::Remote { wanted: *wanted };
            self.items.push(Item { entry, target, needs: vec![*layer], own_bytes: 0 });
        }
        let dir = store.repositories_dir();
        for (name, path) in if dir.is_dir() { listed(&dir)? } else { Vec::new() } {
            let (own_bytes, used_ms) = (allocated_bytes(&path), modified_ms(&path));
            let in_use = !store.is_repository_free(&name)?;
            let entry = remote(name.clone(), own_bytes, used_ms, in_use, "git repository");
            let (target, needs) = (Target::Repository { name }, Vec::new());
            self.items.push(Item { entry, target, needs, own_bytes });
        }
        Ok(())
    }

    /// Layers and blobs that no entry needs and no named image has.
    fn add_leftovers(&mut self) {
        let needed: HashSet<Thing> =
            self.items.iter().flat_map(|item| item.needs.iter().copied()).collect();
        let mut left: Vec<(Thing, u64)> = self
            .sizes
            .iter()
            .filter(|(thing, _)| !needed.contains(*thing) && !self.named.contains(*thing))
            .map(|(thing, size)| (*thing, *size))
            .collect();
        left.sort_unstable();
        for (thing, size_bytes) in left {
            let shared = self.image_layers.contains(&thing);
            let entry = Entry {
                id: Digest::from_bytes(thing).to_string(),
                kind: EntryKind::Leftover,
                size_bytes,
                created_ms: 0,
                used_ms: 0,
                duration_ms: 0,
                description: if shared { "layer of an image" } else { "left over" }.to_owned(),
                in_use: self.claimed.contains(&thing),
                shared,
            };
            self.items.push(Item {
                entry,
                target: Target::Thing,
                needs: vec![thing],
                own_bytes: 0,
            });
        }
    }
}

/// The names in a directory that are text, with their paths.
fn listed(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>, CacheError> {
    let list = || CacheError::io("list the directory", dir);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(list())? {
        let entry = entry.map_err(list())?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// The rows that say what there is.
#[derive(Debug, Default)]
struct Rows {
    records: Vec<RecordRow>,
    needs: HashMap<[u8; 32], Vec<Thing>>,
    layers: HashMap<[u8; 32], Option<u64>>,
    /// The blobs that each layer was packed as.
    packed: HashMap<[u8; 32], Vec<Thing>>,
    unpacked: BTreeMap<String, Thing>,
    mounts: HashMap<String, (u64, i64)>,
    /// The layer of what each address gave.
    remotes: Vec<([u8; 32], Thing)>,
}

#[derive(Debug)]
struct RecordRow {
    key: [u8; 32],
    created_ms: i64,
    used_ms: i64,
    duration_ms: u64,
    name: String,
}

impl Rows {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut rows = Self::default();
        each(
            connection,
            "SELECT key, created_ms, used_ms, duration_ms, name FROM records",
            |row| {
                rows.records.push(RecordRow {
                    key: row.get(0)?,
                    created_ms: row.get(1)?,
                    used_ms: row.get(2)?,
                    duration_ms: unsigned(row.get(3)?),
                    name: row.get(4)?,
                });
                Ok(())
            },
        )?;
        each(connection, "SELECT key, thing FROM needs", |row| {
            rows.needs.entry(row.get(0)?).or_default().push(row.get(1)?);
            Ok(())
        })?;
        each(connection, "SELECT digest, size_bytes FROM layers", |row| {
            rows.layers.insert(row.get(0)?, row.get::<_, Option<i64>>(1)?.map(unsigned));
            Ok(())
        })?;
        each(connection, "SELECT layer, digest FROM packed", |row| {
            if let Ok(blob) = blob_thing(row.get_ref(1)?.as_str()?) {
                rows.packed.entry(row.get(0)?).or_default().push(blob);
            }
            Ok(())
        })?;
        each(connection, "SELECT diff_id, layer FROM unpacked", |row| {
            rows.unpacked.insert(row.get(0)?, row.get(1)?);
            Ok(())
        })?;
        each(connection, "SELECT wanted, layer FROM remotes", |row| {
            rows.remotes.push((row.get(0)?, row.get(1)?));
            Ok(())
        })?;
        each(connection, "SELECT name, size_bytes, measured_ms FROM mounts", |row| {
            rows.mounts.insert(row.get(0)?, (unsigned(row.get(1)?), row.get(2)?));
            Ok(())
        })?;
        Ok(rows)
    }
}

fn each(
    connection: &Connection,
    query: &str,
    mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}
