//! What extension headers say of the entry that follows them.

use std::collections::BTreeMap;

use tar::Header;

use super::entry::EntryMeta;
use super::number::number;
use super::pax;

/// The values that stand instead of the header's own.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size_bytes: Option<u64>,
    /// The size of a file whose content begins with a map of its holes.
    pub(super) sparse_size_bytes: Option<u64>,
    uid: Option<i64>,
    gid: Option<i64>,
    mtime_seconds: Option<i64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Extensions {
    /// Takes in the records of a pax header; a later value stands instead of an earlier one.
    pub(super) fn read(&mut self, records: &[u8]) -> Result<(), &'static str> {
        let records = pax::parse(records).ok_or("its pax records are malformed")?;
        let mut sparse_version = (None, None);
        let mut sparse_name = None;
        for (key, value) in records {
            // An empty value takes the record back.
            let text = (!value.is_empty()).then(|| value.to_vec());
            match key {
                b"path" => self.path = text,
                b"linkpath" => self.link = text,
                b"size" => self.size_bytes = Some(unsigned(value)?),
                b"uid" => self.uid = Some(seconds(value)?),
                b"gid" => self.gid = Some(seconds(value)?),
                b"mtime" => self.mtime_seconds = Some(seconds(value)?),
                b"GNU.sparse.major" => sparse_version.0 = text,
                b"GNU.sparse.minor" => sparse_version.1 = text,
                b"GNU.sparse.name" => sparse_name = text,
                b"GNU.sparse.realsize" => self.sparse_size_bytes = Some(unsigned(value)?),
                b"GNU.sparse.size" | b"GNU.sparse.map" | b"GNU.sparse.numblocks" => {
                    return Err("it keeps files with holes in a format of long ago");
                }
                key => {
                    if let Some(name) = key.strip_prefix(pax::XATTR_PREFIX) {
                        self.read_xattr(name, value)?;
                    }
                }
            }
        }
        match (&sparse_version, self.sparse_size_bytes) {
            ((Some(major), Some(minor)), Some(_)) if (&major[..], &minor[..]) == (b"1", b"0") => {
                self.path = sparse_name.or(self.path.take());
                Ok(())
            }
            ((None, None), None) => Ok(()),
            _ => Err("it keeps files with holes in an unknown format"),
        }
    }

    fn read_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if name.is_empty() || name.contains(&0) || name.len() > 255 {
            return Err("the name of an extended attribute is not valid");
        }
        self.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// The metadata of the entry, the header's and these together.
    pub(super) fn meta(&self, header: &Header) -> Result<EntryMeta, &'static str> {
        let old = header.as_old();
        let id = |extension: Option<i64>, field: &[u8]| {
            let id = extension.or_else(|| number(field)).ok_or("its owner is not a number")?;
            // The last number means "no owner" to the kernel.
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or("its owner is out of range")
        };
        let mode = number(&old.mode).ok_or("its mode is not a number")?;
        let mtime = self.mtime_seconds.or_else(|| number(&old.mtime));
        Ok(EntryMeta {
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: id(self.uid, &old.uid)?,
            gid: id(self.gid, &old.gid)?,
            mtime_seconds: mtime.ok_or("its time is not a number")?,
            xattrs: self.xattrs.clone(),
        })
    }
}

fn unsigned(value: &[u8]) -> Result<u64, &'static str> {
    seconds(value).and_then(|value| u64::try_from(value).map_err(|_| "a size is negative"))
}

/// A decimal number whose fraction, if it has one, is cut off towards the past.
fn seconds(value: &[u8]) -> Result<i64, &'static str> {
    const REASON: &str = "a pax record is not a number";
    let text = std::str::from_utf8(value).map_err(|_| REASON)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(REASON);
    }
    let seconds: i64 = whole.parse().map_err(|_| REASON)?;
    let is_before = whole.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    seconds.checked_sub(i64::from(is_before)).ok_or(REASON)
}
