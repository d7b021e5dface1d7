//! The database handle: one SQLite connection that threads take in turn.
//!
//! The log is write-ahead, so that a reader in another process never waits; commits are not synced, and
//! a crash of the machine loses the last of them but never breaks the file. What that means for results is
//! in [`durable`](super::durable). Closures given here run with the connection held: they do SQL only.
//!
//! Whoever looks up much at a time [peeks](Db::peek): such reads share one transaction, and so one state of the
//! database, until anything else is done with the connection.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::damage::{self, Access};
use super::proof;
use crate::CacheError;

/// How long a step waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
/// Compiled statements kept: more than there are in this crate.
const STATEMENTS: usize = 64;
/// The log is folded into the database after a build that finds it long; in the middle only past this many pages.
const CHECKPOINT_PAGES: u32 = 4096;

/// A shared handle on `kiln.db`. Clones share one connection.
#[derive(Debug, Clone)]
pub(super) struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    held: Mutex<Held>,
    /// Whether results were published through this handle.
    published: AtomicBool,
    _access: Access,
}

#[derive(Debug)]
struct Held {
    connection: Connection,
    /// Whether the transaction of peeks is open.
    is_peeking: bool,
}

impl Held {
    fn begin_peeking(&mut self) -> rusqlite::Result<()> {
        if !self.is_peeking {
            self.connection.prepare_cached("BEGIN")?.execute([])?;
            self.is_peeking = true;
        }
        Ok(())
    }

    fn end_peeking(&mut self) {
        if std::mem::take(&mut self.is_peeking) {
            let ended =
                self.connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]));
            if let Err(error) = ended {
                // It has only read.
                tracing::warn!(%error, "a read transaction did not end well");
            }
        }
    }
}

impl Db {
    /// Opens the file, made if absent, with the settings that every connection has. The schema is not
    /// looked at. `access` is held as long as the connection is open.
    ///
    /// # Errors
    /// When SQLite cannot open it.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, CacheError> {
        let connection = connect(path).map_err(sql("open the connection", path))?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                held: Mutex::new(Held { connection, is_peeking: false }),
                published: AtomicBool::new(false),
                _access: access,
            }),
        })
    }

    /// Runs queries. `step` names them in errors: `read a record`.
    ///
    /// # Errors
    /// [`CacheError::Sql`] with whatever the closure returns.
    pub(super) fn read<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        run(&self.held().connection).map_err(sql(step, &self.inner.path))
    }

    /// As [`Self::read`], in a state of the database that may be as old as the first peek since anything else was
    /// done with this handle. Nothing while another thread has the connection.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(super) fn peek<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, CacheError> {
        let Ok(mut held) = self.inner.held.try_lock() else { return Ok(None) };
        let looked = held.begin_peeking().and_then(|()| run(&held.connection));
        looked.map(Some).map_err(sql(step, &self.inner.path))
    }

    /// Ends the transaction of the peeks, if it is open.
    pub(super) fn end_peeking(&self) {
        // Whoever has the connection has ended it already.
        if let Ok(mut held) = self.inner.held.try_lock() {
            held.end_peeking();
        }
    }

    /// Runs one transaction, which is begun for writing and committed when the closure succeeds.
    ///
    /// # Errors
    /// [`CacheError::Sql`] with whatever the closure returns; nothing is written then.
    pub(super) fn write<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        transact(&mut self.held().connection, run).map_err(sql(step, &self.inner.path))
    }

    /// As [`Self::write`], for a transaction that needs more than SQL; what the closure returns lives
    /// until after the commit. The closure must not use this handle.
    pub(super) fn write_with<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let mut held = self.held();
        let begun = held.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(self.failed(step))?;
        let value = run(&transaction)?;
        transaction.commit().map_err(self.failed(step))?;
        Ok(value)
    }

    /// Makes the adapter for `map_err` inside [`Self::write_with`].
    pub(super) fn failed(&self, step: &'static str) -> impl FnOnce(rusqlite::Error) -> CacheError {
        sql(step, &self.inner.path)
    }

    /// As [`Self::write`], for rows that point to files and so carry an epoch (the closure's second
    /// argument) until they are marked durable.
    pub(super) fn publish<T>(
        &self,
        step: &'static str,
        run: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        let done = self.write(step, |transaction| {
            let epoch = transaction
                .prepare_cached("SELECT epoch FROM state")?
                .query_row([], |row| row.get(0))?;
            run(transaction, epoch)
        })?;
        self.inner.published.store(true, Ordering::Release);
        Ok(done)
    }

    /// Whether anything was published through this handle.
    pub(super) fn has_published(&self) -> bool {
        self.inner.published.load(Ordering::Acquire)
    }

    /// How long the log is.
    pub(super) fn log_bytes(&self) -> u64 {
        let mut log = self.inner.path.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(&log).map_or(0, |meta| meta.len())
    }

    /// Moves a log longer than `longest_bytes` into the database, unless somebody is using it.
    pub(super) fn fold_log(&self, longest_bytes: u64) -> Result<(), CacheError> {
        if self.log_bytes() <= longest_bytes {
            return Ok(());
        }
        self.read("fold the log into the database", |connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let folded =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_busy| Ok(()));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            folded
        })
    }

    /// The database file.
    pub(super) fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The connection, outside of any transaction.
    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic in a closure has rolled its transaction back: the connection is sound.
        let mut held = self.inner.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.end_peeking();
        held
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    proof::register(&connection)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Whoever closes last would otherwise sync the database, on the way out of every command.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

fn transact<T>(
    connection: &mut Connection,
    run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = run(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Makes the adapter for `map_err` on what SQLite answers. That the file is damaged is noted for all.
fn sql(step: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> CacheError {
    let path = path.to_owned();
    move |source| {
        let found = format!("could not {step}: {source}");
        let error = CacheError::Sql { step, path, source };
        if let CacheError::Sql { path, .. } = &error
            && error.is_damaged_store()
            && let Some(root) = path.parent()
        {
            damage::note(root, &found);
        }
        error
    }
}
