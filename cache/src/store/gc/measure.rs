//! What directories take on the disk.
//!
//! Allocated blocks, hard links counted once. Blocks that files share by reflink are counted for each
//! file: no filesystem tells them cheaply. Layers are measured once, by whoever first wants to know, which
//! is the process that runs after a build: the build itself waits for nothing, and by then the filesystem
//! has allocated what it had only promised.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_ir::Digest;
use rusqlite::params;

use crate::CacheError;
use crate::store::{Store, now_ms, signed};

/// The unit of the count of blocks, whatever the filesystem's own.
const BLOCK_BYTES: u64 = 512;

/// The bytes that a file or a directory with all in it takes. What cannot be looked at is left out: it
/// may vanish meanwhile, or belong to somebody else.
pub(in crate::store) fn allocated_bytes(path: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut sum = 0_u64;
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let is_dir = meta.is_dir();
        if is_dir || meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
            sum = sum.saturating_add(meta.blocks().saturating_mul(BLOCK_BYTES));
        }
        if is_dir && let Ok(entries) = fs::read_dir(&path) {
            todo.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
    sum
}

impl Store {
    /// Measures the layers that nobody has measured yet.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn measure_layers(&self) -> Result<(), CacheError> {
        let new: Vec<[u8; 32]> = self.db.read("list the layers to measure", |connection| {
            let mut list =
                connection.prepare_cached("SELECT digest FROM layers WHERE size_bytes IS NULL")?;
            let rows = list.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        // In pieces, so that a long measuring that is cut short was not for nothing.
        for piece in new.chunks(256) {
            let measured: Vec<(&[u8; 32], u64)> = piece
                .iter()
                .map(|digest| {
                    let dir = self.layers_dir().join(Digest::from_bytes(*digest).to_string());
                    (digest, allocated_bytes(&dir))
                })
                .collect();
            self.db.write("note the sizes of layers", |transaction| {
                let mut note = transaction
                    .prepare_cached("UPDATE layers SET size_bytes = ?2 WHERE digest = ?1")?;
                for (digest, size_bytes) in measured {
                    note.execute(params![digest, signed(size_bytes)])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What a cache mount takes, measured again if it was taken since the last time.
    pub(super) fn measured_mount(
        &self,
        name: &str,
        used_ms: i64,
        known: Option<(u64, i64)>,
    ) -> Result<u64, CacheError> {
        if let Some((size_bytes, measured_ms)) = known
            && measured_ms > used_ms
        {
            return Ok(size_bytes);
        }
        let before_ms = now_ms();
        let size_bytes = allocated_bytes(&self.mounts_dir().join(name));
        self.db.write("note the size of a cache mount", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO mounts VALUES (?1, ?2, ?3)")?
                .execute(params![name, signed(size_bytes), before_ms])
        })?;
        Ok(size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_holes_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let empty = allocated_bytes(dir.path());
        let file = dir.path().join("a");
        fs::write(&file, vec![7_u8; 100_000]).unwrap();
        let one = allocated_bytes(dir.path());
        assert!((100_000..200_000).contains(&(one - empty)), "{one} {empty}");
        fs::hard_link(&file, dir.path().join("b")).unwrap();
        assert_eq!(allocated_bytes(dir.path()), one);
        let hole = fs::File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 30).unwrap();
        assert!(allocated_bytes(dir.path()) < one + 100_000);
        assert_eq!(allocated_bytes(&dir.path().join("absent")), 0);
    }
}
