//! Reading what can be read of a damaged database.
//!
//! Each table is read from its beginning until a page makes no sense, then from its end, so that what lies between
//! the first and the last damaged page is lost. Of what was read, only rows are kept that prove themselves, or have
//! at least the form that their readers rely on. Memos that are cheap to compute again are not read.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{proof, schema};

/// A table that is read.
struct Table {
    name: &'static str,
    /// The columns by which it is stored.
    order: &'static [&'static str],
    /// Whether a row is sound.
    sound: &'static str,
    /// Whether its rows are believed only as far as the store knows what had reached the disk.
    dated: bool,
}

const fn table(
    name: &'static str,
    order: &'static [&'static str],
    sound: &'static str,
    dated: bool,
) -> Table {
    Table { name, order, sound, dated }
}

/// More changes, marks or bytes than a store ever has; beyond it sums overflow.
const MOST: i64 = 1 << 50;

/// In `sound`, `{proof}` is the table's proof and `{most}` is [`MOST`].
const TABLES: [Table; 11] = [
    table("images", &["name"], "proof = {proof} AND epoch BETWEEN 0 AND {most}", false),
    table("records", &["key"], "proof = {proof} AND epoch BETWEEN 0 AND {most}", true),
    table("layers", &["digest"], "length(digest) = 32 AND epoch BETWEEN 0 AND {most}", true),
    table(
        "blobs",
        &["digest"],
        "size_bytes BETWEEN 0 AND {most} AND epoch BETWEEN 0 AND {most}",
        true,
    ),
    table("packed", &["layer", "form"], "proof = {proof}", false),
    table("unpacked", &["diff_id"], "length(layer) = 32", false),
    table("remotes", &["wanted"], "proof = {proof}", false),
    table(
        "builds",
        &["id"],
        "length(id) = 13 AND status IN ('completed', 'error', 'canceled')
            AND steps BETWEEN 0 AND 4294967295 AND cached_steps BETWEEN 0 AND 4294967295
            AND size_bytes BETWEEN 0 AND {most} AND created_ms BETWEEN 0 AND {most}",
        false,
    ),
    table("accounts", &["rowid"], "length(key) = 32 AND length(stage) = 32", false),
    table("listings", &["rowid"], "length(digest) = 32", false),
    table("listed", &["key", "selection"], "length(key) = 32 AND length(selection) = 32", false),
];

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    /// Tables of which rows may be missing.
    pub(super) incomplete: BTreeSet<&'static str>,
    /// How often the images had changed; nothing when that is not known.
    pub(super) generation: Option<i64>,
    /// Whether the layout's index lags behind the table of images.
    pub(super) index_is_stale: bool,
}

/// What a damaged database says of itself.
struct State {
    boot: String,
    epoch: i64,
    durable_epoch: i64,
    index_stale: bool,
    generation: i64,
}

/// Copies what is sound into a new database, and adds what follows from it.
pub(super) fn salvage(
    source: Option<&Connection>,
    target: &Transaction<'_>,
) -> rusqlite::Result<Salvaged> {
    let state = source.and_then(read_state);
    let mut salvaged = Salvaged {
        incomplete: BTreeSet::new(),
        generation: state.as_ref().map(|state| state.generation),
        index_is_stale: state.as_ref().is_some_and(|state| state.index_stale),
    };
    for table in &TABLES {
        let source = source.filter(|_| state.is_some() || !table.dated);
        let whole = match source {
            Some(source) => copy(source, target, table)?,
            None => false,
        };
        if !whole | drop_unsound(target, table)? {
            salvaged.incomplete.insert(table.name);
        }
    }
    target.execute_batch(schema::DERIVE_NEEDS)?;
    let State { boot, epoch, durable_epoch, generation, .. } = state.unwrap_or(State {
        // Of no boot: whatever is not marked is looked at before it is used.
        boot: String::new(),
        epoch: 1,
        durable_epoch: 0,
        index_stale: true,
        generation: 0,
    });
    let latest: i64 = target.query_row(
        "SELECT max(coalesce(max(epoch), 0), ?1, ?2 + 1) FROM (
            SELECT epoch FROM records UNION ALL SELECT epoch FROM layers
            UNION ALL SELECT epoch FROM blobs UNION ALL SELECT epoch FROM images)",
        [epoch, durable_epoch],
        |row| row.get(0),
    )?;
    target.execute("DELETE FROM state", [])?;
    target.execute(
        "INSERT INTO state VALUES (1, ?1, ?2, ?3, 1, ?4)",
        params![boot, latest, durable_epoch, generation],
    )?;
    Ok(salvaged)
}

fn read_state(source: &Connection) -> Option<State> {
    let query = "SELECT boot, epoch, durable_epoch, index_stale, generation FROM state";
    let read = |row: &Row<'_>| {
        Ok(State {
            boot: row.get(0)?,
            epoch: row.get(1)?,
            durable_epoch: row.get(2)?,
            index_stale: row.get(3)?,
            generation: row.get(4)?,
        })
    };
    let state = source.query_row(query, [], read).optional().ok().flatten();
    // Counts that only go up, and the mark behind the epoch that is not marked yet.
    state.filter(|state| {
        let State { epoch, durable_epoch, generation, .. } = state;
        (0..*epoch).contains(durable_epoch) && *epoch < MOST && (0..MOST).contains(generation)
    })
}

/// Copies what can be read of a table; says whether that is all of it.
fn copy(source: &Connection, target: &Transaction<'_>, table: &Table) -> rusqlite::Result<bool> {
    let columns = schema::columns(target, table.name)?;
    let order = |direction: &str| {
        let by = table.order.iter().map(|column| format!("{column} {direction}"));
        by.collect::<Vec<_>>().join(", ")
    };
    for direction in ["ASC", "DESC"] {
        let query = format!(
            "SELECT {} FROM {} ORDER BY {}",
            columns.join(", "),
            table.name,
            order(direction)
        );
        if copy_rows(source, target, (table.name, &columns), &query)? {
            return Ok(direction == "ASC");
        }
    }
    Ok(false)
}

/// Copies the rows of a query, until one cannot be read; says whether there was none like that.
fn copy_rows(
    source: &Connection,
    target: &Transaction<'_>,
    (table, columns): (&str, &[String]),
    query: &str,
) -> rusqlite::Result<bool> {
    let places = vec!["?"; columns.len()].join(", ");
    let mut insert = target.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))?;
    let Ok(mut select) = source.prepare(query) else { return Ok(false) };
    let Ok(mut rows) = select.query([]) else { return Ok(false) };
    let mut whole = true;
    loop {
        let Ok(row) = rows.next() else { return Ok(false) };
        let Some(row) = row else { return Ok(whole) };
        let values: rusqlite::Result<Vec<Value>> =
            (0..columns.len()).map(|column| row.get(column)).collect();
        // A text that is none, or a value of another type than the column's.
        let refused = match values {
            Ok(values) => insert.execute(params_from_iter(values)).err(),
            Err(error) => Some(error),
        };
        match refused {
            None => {}
            Some(error) if is_of_the_target(&error) => return Err(error),
            Some(_) => whole = false,
        }
    }
}

/// Whether a row could not be written for a reason that is not in the row.
fn is_of_the_target(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code.is_some_and(|code| code != rusqlite::ErrorCode::ConstraintViolation)
}

/// Drops rows that are not sound; says whether there were any.
fn drop_unsound(target: &Transaction<'_>, table: &Table) -> rusqlite::Result<bool> {
    let proof = proof::TABLES.iter().find(|(name, _)| *name == table.name);
    let sound = table.sound.replace("{proof}", proof.map_or("", |(_, proof)| proof));
    let sound = sound.replace("{most}", &MOST.to_string());
    let dropped = target.execute(&format!("DELETE FROM {} WHERE NOT ({sound})", table.name), [])?;
    Ok(dropped > 0)
}
