//! What recorded actions were made of, kept so that a later miss can be explained; see
//! [`account`](crate::account).
//!
//! Rows are written in one transaction at the end of a build, for the actions that ran in it. They point to no
//! file and carry no epoch. An action that was begun and did not end well has an account and no record; one whose
//! record went later keeps a row that says why, without the account. Lists of files are kept once for each
//! selection, and for the newest few accounts of a step alone.

use std::collections::BTreeSet;

use kiln_ir::Digest;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, now_ms};
use crate::account::{Account, Listing};
use crate::{CacheError, CacheKey};

/// Accounts of one step whose lists of files are kept.
const LISTED_PER_STEP: i64 = 8;
/// Rows of records that went, and of attempts that failed, that are kept.
const GONE_MAX: i64 = 4_000;

/// An account with where its step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The action's key.
    pub key: CacheKey,
    /// Which stage of which Dockerfile: a digest of what names it.
    pub stage: Digest,
    /// Which step of the stage.
    pub step: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// Why the action had to run.
    pub missed: Missed,
    /// The account itself.
    pub account: Account,
}

/// Why an action had to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing was known of it.
    New,
    /// Its record was to be passed over.
    PassedOver,
    /// Its record was there, and the content was not.
    Husk,
    /// It was begun before, and did not end well.
    Unfinished,
    /// It had a record, which went.
    Gone(Gone),
}

impl Missed {
    const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::PassedOver => "passed over",
            Self::Husk => "husk",
            Self::Unfinished => "unfinished",
            Self::Gone(gone) => gone.word(),
        }
    }

    /// What the word stands for; a word of a later version's is as good as new.
    fn of(word: &str) -> Self {
        let own = [Self::PassedOver, Self::Husk, Self::Unfinished].into_iter();
        let mut all = own.chain(Gone::ALL.map(Self::Gone));
        all.find(|missed| missed.word() == word).unwrap_or(Self::New)
    }
}

/// Why a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// A collection took it.
    Collected,
    /// It had not reached the disk when the machine was restarted.
    Restart,
    /// A check of the store found it damaged.
    Damaged,
}

impl Gone {
    const ALL: [Self; 3] = [Self::Collected, Self::Restart, Self::Damaged];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Restart => "restart",
            Self::Damaged => "damaged",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

/// What is known of an action besides its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// It was begun: its account is here.
    Begun(Box<AccountRow>),
    /// It had a record, which went.
    Gone(Gone),
}

impl Store {
    /// Keeps the accounts of actions that ran, and the lists of files that they selected, by the selections'
    /// digests.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is wrong then but that less can be explained.
    pub fn put_accounts(
        &self,
        rows: &[AccountRow],
        listings: &[(CacheKey, Digest, Listing)],
    ) -> Result<(), CacheError> {
        if rows.is_empty() {
            return Ok(());
        }
        let known = |digest: &Digest| self.has_listing(digest).unwrap_or(false);
        let encoded: Vec<_> = listings
            .iter()
            .map(|(key, digest, listing)| {
                let bytes = if known(digest) { None } else { listing.encode() };
                (key, digest, bytes)
            })
            .collect();
        self.db.write("keep what steps were made of", |transaction| {
            rows.iter().try_for_each(|row| put(transaction, row))?;
            let mut listed =
                transaction.prepare_cached("INSERT OR IGNORE INTO listed VALUES (?1, ?2)")?;
            let mut list =
                transaction.prepare_cached("INSERT OR IGNORE INTO listings VALUES (?1, ?2)")?;
            for (key, digest, bytes) in &encoded {
                listed.execute([key.digest().as_bytes(), digest.as_bytes()])?;
                if let Some(bytes) = bytes {
                    list.execute(params![digest.as_bytes(), bytes])?;
                }
            }
            let with_lists: BTreeSet<&CacheKey> = encoded.iter().map(|(key, ..)| *key).collect();
            drop_old_lists(transaction, rows.iter().filter(|row| with_lists.contains(&row.key)))
        })
    }

    /// What is known of an action besides its record; nothing when it was never begun.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn trace(&self, key: &CacheKey) -> Result<Option<Trace>, CacheError> {
        let found = self.db.read("read what a step was made of", |connection| {
            connection
                .prepare_cached(
                    "SELECT key, stage, step, made_ms, account, missed, gone FROM accounts WHERE key = ?1",
                )?
                .query_row([key.digest().as_bytes()], |row| {
                    let gone: Option<String> = row.get(6)?;
                    Ok((decode(row)?, gone.as_deref().and_then(Gone::of)))
                })
                .optional()
        })?;
        Ok(found.and_then(|(row, gone)| match (gone, row) {
            (Some(gone), _) => Some(Trace::Gone(gone)),
            (None, row) => row.map(|row| Trace::Begun(Box::new(row))),
        }))
    }

    /// Accounts of actions of one kind with a record, made in one stage before a time (in milliseconds since
    /// 1970), newest first. Those that make no sense are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn accounts_of_stage(
        &self,
        (stage, kind): (&Digest, &str),
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<AccountRow>, CacheError> {
        self.list(
            "SELECT key, stage, step, made_ms, account, missed FROM accounts
             WHERE stage = ?1 AND kind = ?2 AND made_ms < ?3 AND gone IS NULL
                AND EXISTS (SELECT 1 FROM records WHERE records.key = accounts.key)
             ORDER BY made_ms DESC LIMIT ?4",
            params![stage.as_bytes(), kind, before_ms, limit],
        )
    }

    /// As [`Self::accounts_of_stage`], of all stages of all Dockerfiles.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn recent_accounts(
        &self,
        kind: &str,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<AccountRow>, CacheError> {
        self.list(
            "SELECT key, stage, step, made_ms, account, missed FROM accounts
             WHERE kind = ?1 AND made_ms < ?2 AND gone IS NULL
                AND EXISTS (SELECT 1 FROM records WHERE records.key = accounts.key)
             ORDER BY made_ms DESC LIMIT ?3",
            params![kind, before_ms, limit],
        )
    }

    /// The files of a selection; nothing when they were not kept, or their list makes no sense.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn listing(&self, selection: &Digest) -> Result<Option<Listing>, CacheError> {
        let found: Option<Vec<u8>> = self.db.read("read a list of files", |connection| {
            connection
                .prepare_cached("SELECT files FROM listings WHERE digest = ?1")?
                .query_row([selection.as_bytes()], |row| row.get(0))
                .optional()
        })?;
        Ok(found.and_then(|bytes| Listing::decode(&bytes)))
    }

    fn has_listing(&self, selection: &Digest) -> Result<bool, CacheError> {
        self.db.read("look for a list of files", |connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM listings WHERE digest = ?1)")?
                .query_row([selection.as_bytes()], |row| row.get(0))
        })
    }

    fn list(
        &self,
        query: &'static str,
        parameters: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<AccountRow>, CacheError> {
        self.db.read("list what steps were made of", |connection| {
            let mut statement = connection.prepare_cached(query)?;
            let rows = statement.query_map(parameters, decode)?;
            let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }

    /// Deletes what no account and no explanation needs any more.
    pub(super) fn trim_accounts(&self) -> Result<(), CacheError> {
        self.db.write("trim what is known of steps", |transaction| {
            transaction.execute(
                "DELETE FROM accounts WHERE key IN (
                    SELECT key FROM accounts
                    WHERE gone IS NOT NULL OR key NOT IN (SELECT key FROM records)
                    ORDER BY made_ms DESC LIMIT -1 OFFSET ?1)",
                [GONE_MAX],
            )?;
            transaction
                .execute("DELETE FROM listed WHERE key NOT IN (SELECT key FROM accounts)", [])?;
            drop_unlisted(transaction)
        })
    }
}

/// Notes that the record of `key` goes, and why.
pub(super) fn note_gone(
    transaction: &Transaction<'_>,
    key: &[u8; 32],
    gone: Gone,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE accounts SET gone = ?2, account = '' WHERE key = ?1")?
        .execute(params![key, gone.word()])?;
    transaction.prepare_cached("DELETE FROM listed WHERE key = ?1")?.execute([key])?;
    Ok(())
}

fn put(transaction: &Transaction<'_>, row: &AccountRow) -> rusqlite::Result<()> {
    let AccountRow { key, stage, step, made_ms, missed, account } = row;
    let Some(text) = account.encode() else { return Ok(()) };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO accounts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)",
        )?
        .execute(params![
            key.digest().as_bytes(),
            stage.as_bytes(),
            i64::try_from(*step).unwrap_or(i64::MAX),
            account.kind,
            made_ms,
            missed.word(),
            text
        ])?;
    Ok(())
}

/// Keeps lists for the newest accounts of each step alone, in the stages of these steps.
fn drop_old_lists<'a>(
    transaction: &Transaction<'_>,
    rows: impl Iterator<Item = &'a AccountRow>,
) -> rusqlite::Result<()> {
    let stages: BTreeSet<(&[u8; 32], &str)> =
        rows.map(|row| (row.stage.as_bytes(), row.account.kind.as_str())).collect();
    let mut dropped = 0;
    for (stage, kind) in stages {
        dropped += transaction
            .prepare_cached(
                "DELETE FROM listed WHERE key IN (
                    SELECT key FROM (
                        SELECT key, row_number() OVER (PARTITION BY step ORDER BY made_ms DESC) AS place
                        FROM accounts WHERE stage = ?1 AND kind = ?2)
                    WHERE place > ?3)",
            )?
            .execute(params![stage, kind, LISTED_PER_STEP])?;
    }
    if dropped == 0 { Ok(()) } else { drop_unlisted(transaction) }
}

fn drop_unlisted(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .execute("DELETE FROM listings WHERE digest NOT IN (SELECT selection FROM listed)", [])?;
    Ok(())
}

/// A row; nothing when its account makes no sense.
fn decode(row: &Row<'_>) -> rusqlite::Result<Option<AccountRow>> {
    let account = Account::decode(row.get_ref(4)?.as_str()?);
    let (key, stage): ([u8; 32], [u8; 32]) = (row.get(0)?, row.get(1)?);
    let (step, made_ms): (i64, i64) = (row.get(2)?, row.get(3)?);
    let missed = Missed::of(row.get_ref(5)?.as_str()?);
    Ok(account.map(|account| AccountRow {
        key: CacheKey::from_digest(Digest::from_bytes(key)),
        stage: Digest::from_bytes(stage),
        step: u64::try_from(step).unwrap_or(0),
        made_ms,
        missed,
        account,
    }))
}

/// The time that rows which are made now carry, in milliseconds since 1970.
#[must_use]
pub fn made_now_ms() -> i64 {
    now_ms()
}
