//! Records on their way between machines: one document, beside which the layers travel as blobs.
//!
//! A list of layers, a list of records that refer to it, what selections came to, and cache mounts. JSON with
//! a version. Digests of content are 64 hexadecimal digits, those of blobs `sha256:` and 64 more; times and
//! durations are milliseconds. Whoever fetches a layer compares its content with its digest here, so a document
//! can claim a wrong result for a key and nothing else: it is trusted as a base image is.
//!
//! Absent: where blobs are, and how they get there.

use std::collections::BTreeSet;

use kiln_ir::Digest;
use serde::{Deserialize, Serialize};

use crate::store::is_blob_digest;
use crate::{BlobRef, CacheError, CacheKey, LayerRef, Record, StoredBlob};

/// The largest document that is read or written.
pub const MAX_PORTABLE_BYTES: usize = 32 << 20;
/// The version that this code reads and writes.
const VERSION: u32 = 1;
/// The longest name of an action that travels; what is longer is cut.
const MAX_NAME_CHARS: usize = 200;

/// What one machine knows, for another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Portable {
    /// Each layer once.
    pub layers: Vec<PortableLayer>,
    /// Each key once. Layers are indexes into [`Portable::layers`].
    pub records: Vec<(CacheKey, PortableRecord)>,
    /// What selections of snapshots' files came to.
    pub selections: Vec<PortableSelection>,
    /// Cache mounts, each id once.
    pub mounts: Vec<PortableMount>,
}

/// A layer and how it is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortableLayer {
    /// The content's digest.
    pub digest: Digest,
    /// When it was made: an image's times follow from it. Nothing for layers of a base image.
    pub made_ms: Option<i64>,
    /// The blob that it is packed as; nothing where the reader knows it, as in an image's own config.
    pub blob: Option<BlobRef>,
    /// How it is packed, in the packer's own words; nothing for a blob of a base image, which is where that
    /// image is and not here.
    pub form: Option<String>,
    /// The layer's manifest as a blob, which has the exact times of its files.
    pub tree: Option<StoredBlob>,
}

/// A [`Record`] whose layers are indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableRecord {
    /// Indexes of layers, lowest first.
    pub layers: Vec<u32>,
    /// See [`Record::created_ms`].
    pub created_ms: i64,
    /// See [`Record::duration_ms`].
    pub duration_ms: u64,
    /// See [`Record::size_bytes`].
    pub size_bytes: u64,
    /// See [`Record::name`].
    pub name: String,
}

/// What a selection of a snapshot's files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortableSelection {
    /// The snapshot.
    pub snapshot: Digest,
    /// All that says what is selected.
    pub selection: Digest,
    /// What was found.
    pub digest: Digest,
}

/// A cache mount's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableMount {
    /// The mount's id.
    pub id: String,
    /// Its paths, as the manifest of a layer.
    pub tree: StoredBlob,
    /// The bytes of its files.
    pub packs: Vec<PortablePack>,
}

/// The bytes of several files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortablePack {
    /// The bytes, one file's after another's.
    pub blob: StoredBlob,
    /// Which files these are.
    pub index: StoredBlob,
}

impl Portable {
    /// The document's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = Document {
            version: VERSION,
            layers: self.layers.iter().map(LayerRow::of).collect(),
            records: self.records.iter().map(RecordRow::of).collect(),
            selections: self.selections.iter().map(SelectionRow::of).collect(),
            mounts: self.mounts.clone(),
        };
        serde_json::to_vec(&document).expect("every field is representable in JSON")
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`CacheError::PortableJson`] and [`CacheError::BadPortable`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        let bad = |what| CacheError::BadPortable { what };
        if bytes.len() > MAX_PORTABLE_BYTES {
            return Err(bad("it is too large"));
        }
        let json = |source| CacheError::PortableJson { source };
        let Version { version } = serde_json::from_slice(bytes).map_err(json)?;
        if version != VERSION {
            return Err(bad("it is of a version that this kiln does not know"));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(json)?;
        let Document { version: _, layers, records, selections, mounts } = document;
        let layers = layers.into_iter().map(LayerRow::read).collect::<Result<Vec<_>, _>>()?;
        if layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>().len() != layers.len() {
            return Err(bad("it has a layer twice"));
        }
        let records = records.into_iter().map(RecordRow::read).collect::<Result<Vec<_>, _>>()?;
        let is_known = |&index: &u32| (index as usize) < layers.len();
        if !records.iter().all(|(_, record)| record.layers.iter().all(is_known)) {
            return Err(bad("a record is of a layer that it does not have"));
        }
        let blobs = mounts.iter().flat_map(|mount| {
            let packs = mount.packs.iter().flat_map(|pack| [&pack.blob, &pack.index]);
            packs.chain([&mount.tree])
        });
        check_blobs(blobs.chain(layers.iter().filter_map(|layer| layer.tree.as_ref())))?;
        let selections =
            selections.into_iter().map(SelectionRow::read).collect::<Result<_, _>>()?;
        Ok(Self { layers, records, selections, mounts })
    }

    /// A record as the store has it; `base` says whether a layer is one of a base image, whose blob is part of
    /// what the record tells.
    #[must_use]
    pub fn record(&self, record: &PortableRecord) -> Record {
        let layer = |&index: &u32| {
            let layer = self.layers.get(index as usize)?;
            let blob = layer.blob.clone().filter(|_| layer.form.is_none());
            Some(LayerRef { digest: layer.digest, blob })
        };
        Record {
            layers: record.layers.iter().filter_map(layer).collect(),
            created_ms: record.created_ms,
            duration_ms: record.duration_ms,
            size_bytes: record.size_bytes,
            name: record.name.clone(),
        }
    }
}

impl PortableRecord {
    /// A record of the layers with these indexes.
    #[must_use]
    pub fn new(record: &Record, layers: Vec<u32>) -> Self {
        Self {
            layers,
            created_ms: record.created_ms,
            duration_ms: record.duration_ms,
            size_bytes: record.size_bytes,
            name: record.name.chars().take(MAX_NAME_CHARS).collect(),
        }
    }
}

fn check_blobs<'a>(mut blobs: impl Iterator<Item = &'a StoredBlob>) -> Result<(), CacheError> {
    match blobs.find(|blob| !is_blob_digest(&blob.digest)) {
        Some(blob) => Err(CacheError::BlobDigest { text: blob.digest.clone() }),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    layers: Vec<LayerRow>,
    records: Vec<RecordRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    selections: Vec<SelectionRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<PortableMount>,
}

#[derive(Serialize, Deserialize)]
struct LayerRow {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BlobRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<StoredBlob>,
}

impl LayerRow {
    fn of(layer: &PortableLayer) -> Self {
        let PortableLayer { digest, made_ms, blob, form, tree } = layer.clone();
        Self { digest: digest.to_string(), made_ms, blob, form, tree }
    }

    fn read(self) -> Result<PortableLayer, CacheError> {
        let Self { digest, made_ms, blob, form, tree } = self;
        if let Some(BlobRef { digest, diff_id, .. }) = &blob {
            for text in [digest, diff_id] {
                if !is_blob_digest(text) {
                    return Err(CacheError::BlobDigest { text: text.clone() });
                }
            }
        }
        Ok(PortableLayer { digest: content(&digest)?, made_ms, blob, form, tree })
    }
}

#[derive(Serialize, Deserialize)]
struct RecordRow {
    key: String,
    #[serde(flatten)]
    record: PortableRecord,
}

impl RecordRow {
    fn of((key, record): &(CacheKey, PortableRecord)) -> Self {
        Self { key: key.to_string(), record: record.clone() }
    }

    fn read(self) -> Result<(CacheKey, PortableRecord), CacheError> {
        Ok((CacheKey::from_digest(content(&self.key)?), self.record))
    }
}

#[derive(Serialize, Deserialize)]
struct SelectionRow(String, String, String);

impl SelectionRow {
    fn of(known: &PortableSelection) -> Self {
        Self(known.snapshot.to_string(), known.selection.to_string(), known.digest.to_string())
    }

    fn read(self) -> Result<PortableSelection, CacheError> {
        let Self(snapshot, selection, digest) = self;
        Ok(PortableSelection {
            snapshot: content(&snapshot)?,
            selection: content(&selection)?,
            digest: content(&digest)?,
        })
    }
}

fn content(text: &str) -> Result<Digest, CacheError> {
    let what = "a digest in it is not 64 hexadecimal digits";
    text.parse().map_err(|_| CacheError::BadPortable { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(byte: char) -> String {
        format!("sha256:{}", byte.to_string().repeat(64))
    }

    fn document() -> Portable {
        let blob = |byte| StoredBlob { digest: sha(byte), size_bytes: 7 };
        let packed = BlobRef {
            digest: sha('1'),
            size_bytes: 5,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            diff_id: sha('2'),
        };
        let layer = |name: &[u8], form: Option<&str>| PortableLayer {
            digest: Digest::of(name),
            made_ms: form.map(|_| 12),
            blob: Some(packed.clone()),
            form: form.map(str::to_owned),
            tree: form.map(|_| blob('3')),
        };
        let record = PortableRecord {
            layers: vec![1, 0],
            created_ms: 3,
            duration_ms: 4,
            size_bytes: 5,
            name: "RUN make".to_owned(),
        };
        let selection = PortableSelection {
            snapshot: Digest::of(b"s"),
            selection: Digest::of(b"w"),
            digest: Digest::of(b"d"),
        };
        let packs = vec![PortablePack { blob: blob('4'), index: blob('5') }];
        Portable {
            layers: vec![layer(b"base", None), layer(b"made", Some("gzip, real times"))],
            records: vec![(CacheKey::from_digest(Digest::of(b"k")), record)],
            selections: vec![selection],
            mounts: vec![PortableMount { id: "/root/.cache".to_owned(), tree: blob('6'), packs }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let document = document();
        assert_eq!(Portable::parse(&document.to_bytes()).unwrap(), document);
        assert_eq!(Portable::parse(&Portable::default().to_bytes()).unwrap(), Portable::default());
    }

    #[test]
    fn a_record_names_blobs_of_bases_alone() {
        let document = document();
        let record = document.record(&document.records[0].1);
        let digests: Vec<_> = record.layers.iter().map(|layer| layer.digest).collect();
        assert_eq!(digests, [Digest::of(b"made"), Digest::of(b"base")]);
        assert_eq!(record.layers[0].blob, None);
        assert!(record.layers[1].blob.is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = String::from_utf8(document().to_bytes()).unwrap();
        let digest = Digest::of(b"made").to_string();
        for (from, to, expected) in [
            ("\"version\":1", "\"version\":2", "of a version that this kiln does not know"),
            ("\"layers\":[1,0]", "\"layers\":[2]", "a layer that it does not have"),
            (digest.as_str(), &Digest::of(b"base").to_string(), "a layer twice"),
            (digest.as_str(), "zz", "not 64 hexadecimal digits"),
            ("sha256:11", "sha256:/1", "is not a digest of the form"),
            ("sha256:22", "../../:22", "is not a digest of the form"),
            ("sha256:33", "sha256:3x", "is not a digest of the form"),
            ("sha256:55", "sha512:55", "is not a digest of the form"),
            ("\"records\"", "\"rekords\"", "cannot be read"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Portable::parse(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{from}: {error}");
        }
        assert!(Portable::parse(&vec![b' '; MAX_PORTABLE_BYTES + 1]).is_err());
        assert!(Portable::parse(b"").is_err());
    }

    #[test]
    fn long_names_are_cut() {
        let record = Record {
            layers: Vec::new(),
            created_ms: 0,
            duration_ms: 0,
            size_bytes: 0,
            name: "ä".repeat(1000),
        };
        assert_eq!(PortableRecord::new(&record, Vec::new()).name.chars().count(), 200);
    }
}
