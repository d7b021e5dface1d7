//! Memos: answers that were dear to compute and follow from content digests alone.
//!
//! A memo is never wrong, so none carries an epoch; what it points to may be gone, which is looked at when
//! it is asked for.

use kiln_ir::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, proof, signed, unsigned};
use crate::{BlobRef, CacheError};

impl Store {
    /// The blob that a layer was packed as, if that blob is here. `form` names all that decides how it
    /// is packed (compression, level, timestamp rule) in the packer's own words.
    ///
    /// # Errors
    /// When the database or the blob's file cannot be read.
    pub fn packed(&self, layer: &Digest, form: &str) -> Result<Option<BlobRef>, CacheError> {
        let found = self.db.read("read how a layer was packed", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT digest, size_bytes, media_type, diff_id FROM packed
                     WHERE layer = ?1 AND form = ?2 AND proof = {}",
                    proof::PACKED
                ))?
                .query_row(params![layer.as_bytes(), form], |row| {
                    Ok(BlobRef {
                        digest: row.get(0)?,
                        size_bytes: unsigned(row.get(1)?),
                        media_type: row.get(2)?,
                        diff_id: row.get(3)?,
                    })
                })
                .optional()
        })?;
        match found {
            Some(blob) if self.has_blob(&blob.digest)? => Ok(Some(blob)),
            _ => Ok(None),
        }
    }

    /// Remembers what a layer was packed as; see [`Self::packed`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_packed(&self, layer: &Digest, form: &str, blob: &BlobRef) -> Result<(), CacheError> {
        self.db.write("write how a layer was packed", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO packed VALUES (?1, ?2, ?3, ?4, ?5, ?6,
                        proof('packed', ?1, ?2, ?3, ?4, ?5, ?6))",
                )?
                .execute(params![
                    layer.as_bytes(),
                    form,
                    blob.digest,
                    signed(blob.size_bytes),
                    blob.media_type,
                    blob.diff_id
                ])
        })?;
        Ok(())
    }

    /// The layer that an image's archive was unpacked to; `diff_id` is the plain archive's digest. The
    /// layer may be gone by now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unpacked(&self, diff_id: &str) -> Result<Option<Digest>, CacheError> {
        let found: Option<[u8; 32]> = self.db.read("read an unpacked layer", |connection| {
            connection
                .prepare_cached("SELECT layer FROM unpacked WHERE diff_id = ?1")?
                .query_row([diff_id], |row| row.get(0))
                .optional()
        })?;
        Ok(found.map(Digest::from_bytes))
    }

    /// Remembers what an archive was unpacked to; see [`Self::unpacked`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_unpacked(&self, diff_id: &str, layer: &Digest) -> Result<(), CacheError> {
        self.db.write("write an unpacked layer", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO unpacked VALUES (?1, ?2)")?
                .execute(params![diff_id, layer.as_bytes()])
        })?;
        Ok(())
    }

    /// The digest of what a selection picks from a snapshot, if it was computed before. `selection` is a
    /// digest of all that says what is picked.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn selection(
        &self,
        snapshot: &Digest,
        selection: &Digest,
    ) -> Result<Option<Digest>, CacheError> {
        self.db
            .read("read a selection", |connection| find_selection(connection, snapshot, selection))
    }

    /// As [`Self::selection`], for somebody who must not wait; what it does not find may be there all the same, as
    /// with [`RecordStore::peek`](crate::RecordStore::peek), with which it shares a state of the database.
    ///
    /// # Errors
    /// As for [`Self::selection`].
    pub fn peek_selection(
        &self,
        snapshot: &Digest,
        selection: &Digest,
    ) -> Result<Option<Digest>, CacheError> {
        let find = |connection: &Connection| find_selection(connection, snapshot, selection);
        Ok(self.db.peek("read a selection", find)?.flatten())
    }

    /// Remembers what a selection came to; see [`Self::selection`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_selection(
        &self,
        snapshot: &Digest,
        selection: &Digest,
        digest: &Digest,
    ) -> Result<(), CacheError> {
        self.db.write("write a selection", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO selections VALUES (?1, ?2, ?3)")?
                .execute([snapshot, selection, digest].map(Digest::as_bytes))
        })?;
        Ok(())
    }
}

fn find_selection(
    connection: &Connection,
    snapshot: &Digest,
    selection: &Digest,
) -> rusqlite::Result<Option<Digest>> {
    let found: Option<[u8; 32]> = connection
        .prepare_cached("SELECT digest FROM selections WHERE snapshot = ?1 AND selection = ?2")?
        .query_row([snapshot.as_bytes(), selection.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(found.map(Digest::from_bytes))
}
