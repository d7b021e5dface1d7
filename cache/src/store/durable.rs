//! What survives a crash of the machine.
//!
//! Nothing is synced while a build runs. Rows that point to files carry the store's current *epoch*. A mark
//! of durability first begins a new epoch, then has the kernel write out the whole filesystem, then notes
//! that the epochs before the new one are durable: whatever carries one was renamed into place before its
//! row was committed, and its row before the sync began. After a restart of the machine, rows of later
//! epochs are checked or dropped ([`recover`](super::recover)). The death of a process alone loses nothing.

use std::fs::File;

use rusqlite::params;

use super::Store;
use crate::CacheError;

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A log longer than this is folded into the database: every later open reads all of it.
const LONGEST_LOG_BYTES: u64 = 256 * 1024;

impl Store {
    /// Makes all that was stored so far survive a crash of the machine. Takes as long as the disk does;
    /// without it nothing is wrong, but the results of this boot are lost with the machine's power.
    /// Syncs nothing when nothing was stored since the last time, by whatever process. A log that has become
    /// long is folded into the database in any case.
    ///
    /// # Errors
    /// When the filesystem cannot be synced or the database written.
    pub fn mark_durable(&self) -> Result<(), CacheError> {
        if self.has_unmarked()? {
            self.sync_and_mark()?;
        }
        self.db.fold_log(LONGEST_LOG_BYTES)
    }

    /// Whether this handle stored anything (if it did not, whoever did takes care of it), or the log has become
    /// long: builds that find everything note that, too, and each reads the notes of all before it.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.db.has_published() || self.db.log_bytes() > LONGEST_LOG_BYTES
    }

    fn has_unmarked(&self) -> Result<bool, CacheError> {
        self.db.read("look for results that are not durable", |connection| {
            connection.query_row(
                "WITH epochs AS (
                    SELECT epoch FROM records UNION ALL SELECT epoch FROM layers
                    UNION ALL SELECT epoch FROM blobs UNION ALL SELECT epoch FROM images
                 )
                 SELECT EXISTS (SELECT 1 FROM epochs, state WHERE epochs.epoch > durable_epoch)",
                [],
                |row| row.get(0),
            )
        })
    }

    fn sync_and_mark(&self) -> Result<(), CacheError> {
        let epoch: i64 = self.db.write("begin a new epoch", |transaction| {
            transaction.query_row(
                "UPDATE state SET epoch = epoch + 1 RETURNING epoch - 1",
                [],
                |row| row.get(0),
            )
        })?;
        let root = File::open(&self.root).map_err(CacheError::io("open", &self.root))?;
        rustix::fs::syncfs(&root).map_err(CacheError::io("sync the filesystem of", &self.root))?;
        self.db
            .write("mark results as durable", |transaction| {
                transaction.execute(
                    "UPDATE state SET durable_epoch = max(durable_epoch, ?1)",
                    params![epoch],
                )
            })
            .map(drop)
    }
}

/// The identity of the machine's current boot.
pub(super) fn boot_id() -> Result<String, CacheError> {
    let text = std::fs::read_to_string(BOOT_ID).map_err(CacheError::io("read", BOOT_ID))?;
    Ok(text.trim().to_owned())
}
