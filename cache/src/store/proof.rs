//! Proofs of rows: for each row from which results are taken, a digest of its fields in a column of its own.
//!
//! SQLite sees when a page makes no sense, and not when a few bytes of one are others than were written. A row that
//! does not prove itself is none: a step runs again, a layer is packed again. Rows that cannot lead to a wrong result
//! have no proof: what they point to is not there when they are damaged, or they serve display alone.
//!
//! SQL calls `proof(…)` with the name of the table and the fields, in the order of the columns. It is no protection
//! against anybody.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

/// Of a row of `records`: all that does not change while it is there.
pub(super) const RECORDS: &str =
    "proof('records', key, layers, created_ms, duration_ms, size_bytes, name)";
/// Of a row of `packed`.
pub(super) const PACKED: &str =
    "proof('packed', layer, form, digest, size_bytes, media_type, diff_id)";
/// Of a row of `images`.
pub(super) const IMAGES: &str =
    "proof('images', name, manifest, media_type, manifest_size_bytes, size_bytes, created_ms)";
/// Of a row of `remotes`.
pub(super) const REMOTES: &str = "proof('remotes', wanted, version, last_modified, layer)";
/// The tables whose rows have a proof, with what it is.
pub(super) const TABLES: [(&str, &str); 4] =
    [("records", RECORDS), ("packed", PACKED), ("images", IMAGES), ("remotes", REMOTES)];

/// Makes the function known to a connection.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("proof", -1, flags, |fields| Ok(digest(fields)))
}

fn digest(fields: &Context<'_>) -> i64 {
    // In one piece: most fields have some bytes only.
    let mut row = Vec::with_capacity(512);
    let mut add = |sort: u8, bytes: &[u8]| {
        row.push(sort);
        row.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        row.extend_from_slice(bytes);
    };
    for at in 0..fields.len() {
        match fields.get_raw(at) {
            ValueRef::Null => add(0, &[]),
            ValueRef::Integer(number) => add(1, &number.to_le_bytes()),
            ValueRef::Real(number) => add(2, &number.to_le_bytes()),
            ValueRef::Text(text) => add(3, text),
            ValueRef::Blob(blob) => add(4, blob),
        }
    }
    let mut start = [0; 8];
    start.copy_from_slice(&blake3::hash(&row).as_bytes()[..8]);
    i64::from_le_bytes(start)
}
