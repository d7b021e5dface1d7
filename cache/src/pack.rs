//! The bytes of many files, one after another: how the files of a cache mount travel.
//!
//! A pack is the files' bytes and nothing else; its index lists them in their order: `kiln pack 1\n`, then for
//! each file its 32-byte digest and its length as eight bytes, the lowest first. A file is known by its digest
//! alone: paths are in a [`Manifest`]. Both are bytes from outside when they are read: what is taken out of a pack
//! is believed only when the layer that is made of it has the digest that it should have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_ir::Digest;

use crate::CacheError;
use crate::layer::{Content, Known, LayerStore, LayerWriter, NewFile, digest_file, open_below};
use crate::tree::{Manifest, Node, lossy};

const MAGIC: &[u8] = b"kiln pack 1\n";
const ROW_BYTES: usize = 32 + 8;

/// A file's bytes: their digest and their number.
pub type PackedFile = (Digest, u64);

/// Writes files of a directory into a pack, in the order given.
///
/// # Errors
/// [`CacheError::Changed`] when a file's bytes are not those that its entry tells; failures to read or write.
pub fn write_pack(
    dir: &Path,
    files: &[(Vec<u8>, PackedFile)],
    out: &mut dyn Write,
) -> Result<(), CacheError> {
    let root = File::open(dir).map_err(CacheError::io("open the directory", dir))?;
    for (path, (digest, size_bytes)) in files {
        let changed = || CacheError::Changed { path: lossy(path) };
        let mut file = File::from(open_below(&root, path)?);
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == *size_bytes);
        if !is_file || digest_file(&file, *size_bytes).ok() != Some(*digest) {
            return Err(changed());
        }
        let written = io::Seek::rewind(&mut file)
            .and_then(|()| io::copy(&mut (&file).take(*size_bytes), out));
        let written = written.map_err(CacheError::io("pack", dir))?;
        if written != *size_bytes {
            return Err(changed());
        }
    }
    Ok(())
}

/// The index of a pack of these files.
#[must_use]
pub fn encode_index(files: &[PackedFile]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (digest, size_bytes) in files {
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&size_bytes.to_le_bytes());
    }
    bytes
}

/// Reads the index of a pack.
///
/// # Errors
/// [`CacheError::BadPortable`].
pub fn parse_index(bytes: &[u8]) -> Result<Vec<PackedFile>, CacheError> {
    let bad = || CacheError::BadPortable { what: "an index of packed files is damaged" };
    let rows = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
    if !rows.len().is_multiple_of(ROW_BYTES) {
        return Err(bad());
    }
    let row = |row: &[u8]| -> Option<PackedFile> {
        let (digest, size) = row.split_at_checked(32)?;
        Some((
            Digest::from_bytes(digest.try_into().ok()?),
            u64::from_le_bytes(size.try_into().ok()?),
        ))
    };
    rows.chunks_exact(ROW_BYTES).map(|bytes| row(bytes).ok_or_else(bad)).collect()
}

/// Takes the wanted files out of a pack, each into a file of `dir` that is named by its digest. Those that were
/// taken are wanted no more.
///
/// # Errors
/// Failures to read or write; a pack that is shorter than its index says is one.
pub fn read_pack(
    pack: &mut dyn Read,
    index: &[PackedFile],
    wanted: &mut BTreeSet<PackedFile>,
    dir: &Path,
) -> Result<(), CacheError> {
    for (digest, size_bytes) in index {
        let path = dir.join(digest.to_string());
        let mut bytes = pack.take(*size_bytes);
        let copied = if wanted.remove(&(*digest, *size_bytes)) {
            File::create(&path).and_then(|mut file| io::copy(&mut bytes, &mut file))
        } else {
            io::copy(&mut bytes, &mut io::sink())
        };
        if copied.map_err(CacheError::io("unpack", &path))? != *size_bytes {
            let what = "a pack is shorter than its index says";
            return Err(CacheError::BadPortable { what });
        }
    }
    Ok(())
}

/// All files of a manifest by their bytes, with a path of each.
#[must_use]
pub fn files_of(manifest: &Manifest) -> BTreeMap<PackedFile, Vec<u8>> {
    let entries = manifest.entries().iter().rev();
    entries.filter_map(|entry| Some((entry.node.file()?, entry.path.clone()))).collect()
}

/// Makes the layer that a manifest describes, of files that [`read_pack`] took out. Empty files need none.
///
/// # Errors
/// When a file is missing or is another than the manifest says; failures to read or write.
pub fn build_layer(
    store: &LayerStore,
    manifest: &Manifest,
    dir: &Path,
) -> Result<Digest, CacheError> {
    let mut writer = store.writer(&[])?;
    for entry in manifest.entries().iter().filter(|entry| entry.is_dir()) {
        writer.dir(&entry.path, &entry.meta, entry.mtime)?;
    }
    let mut files = Vec::new();
    for entry in manifest.entries() {
        match entry.node.file() {
            Some((_, 0)) => {
                writer.file(&entry.path, &entry.meta, entry.mtime, Content::Bytes(b""))?;
            }
            Some((digest, _)) => files.push(NewFile {
                path: entry.path.clone(),
                meta: entry.meta.clone(),
                mtime: entry.mtime,
                source: digest.to_string().into_bytes(),
                known: Known::Expected(digest),
                ahead: None,
            }),
            None => {}
        }
    }
    let open = |file: &NewFile| {
        let path: PathBuf = dir.join(String::from_utf8_lossy(&file.source).as_ref());
        File::open(&path).map(Into::into).map_err(CacheError::io("open", path))
    };
    writer.files_parallel(files, &open)?;
    for entry in manifest.entries() {
        write_other(&mut writer, entry)?;
    }
    let digest = writer.finish()?;
    if digest == manifest.digest() {
        return Ok(digest);
    }
    Err(CacheError::BadManifest { what: "it describes what no layer can be" })
}

/// What is neither a directory nor a file's first name.
fn write_other(writer: &mut LayerWriter, entry: &crate::tree::Entry) -> Result<(), CacheError> {
    match &entry.node {
        Node::Symlink { target } => writer.symlink(&entry.path, target, &entry.meta, entry.mtime),
        Node::Hardlink { to } => writer.hardlink(&entry.path, to),
        Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => {
            writer.special(&entry.path, &entry.node, &entry.meta, entry.mtime)
        }
        Node::Dir { .. } | Node::File { .. } | Node::Socket | Node::Whiteout => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::layer::manifest_of;

    fn store(dir: &Path) -> LayerStore {
        for name in ["layers", "staging"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        LayerStore::new(dir.join("layers"), dir.join("staging"))
    }

    fn fill(dir: &Path) {
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/one"), "one").unwrap();
        fs::write(dir.join("a/b/same"), "one").unwrap();
        fs::write(dir.join("empty"), "").unwrap();
        fs::write(dir.join("two"), "two and more").unwrap();
        fs::hard_link(dir.join("two"), dir.join("two-too")).unwrap();
        symlink("a/one", dir.join("link")).unwrap();
        fs::set_permissions(dir.join("two"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_is_packed_comes_back_as_a_layer() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fill(&from);
        fs::create_dir(&to).unwrap();
        let manifest = manifest_of(&from).unwrap();
        let files: Vec<_> =
            files_of(&manifest).into_iter().map(|(file, path)| (path, file)).collect();
        assert_eq!(files.len(), 3, "each content once");
        let mut pack = Vec::new();
        write_pack(&from, &files, &mut pack).unwrap();
        assert_eq!(pack.len(), "onetwo and more".len());
        let index: Vec<PackedFile> = files.iter().map(|(_, file)| *file).collect();
        assert_eq!(parse_index(&encode_index(&index)).unwrap(), index);
        let mut wanted: BTreeSet<PackedFile> = index.iter().copied().collect();
        read_pack(&mut pack.as_slice(), &index, &mut wanted, &to).unwrap();
        assert!(wanted.is_empty());
        let store = store(temp.path());
        let layer = build_layer(&store, &manifest, &to).unwrap();
        assert_eq!(layer, manifest.digest());
        assert_eq!(manifest_of(&store.path(&layer)).unwrap(), manifest, "times and all");
    }

    #[test]
    fn what_changed_meanwhile_is_not_packed() {
        let temp = tempfile::tempdir().unwrap();
        let file = (Digest::of(b"one"), 3);
        let path = temp.path().join("one");
        for content in ["two", "one more", "on"] {
            fs::write(&path, content).unwrap();
            let packed = write_pack(temp.path(), &[(b"one".to_vec(), file)], &mut Vec::new());
            assert!(matches!(packed, Err(CacheError::Changed { .. })), "{content}");
        }
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(write_pack(temp.path(), &[(b"one".to_vec(), file)], &mut Vec::new()).is_err());
    }

    #[test]
    fn a_pack_that_lies_makes_no_layer() {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("from");
        fill(&from);
        let manifest = manifest_of(&from).unwrap();
        let store = store(temp.path());
        let to = temp.path().join("to");
        fs::create_dir(&to).unwrap();
        assert!(build_layer(&store, &manifest, &to).is_err(), "a file is missing");
        let index: Vec<PackedFile> = files_of(&manifest).into_keys().collect();
        let mut wanted: BTreeSet<PackedFile> = index.iter().copied().collect();
        let size: u64 = index.iter().map(|(_, size)| size).sum();
        let noise = vec![b'x'; usize::try_from(size).unwrap()];
        read_pack(&mut noise.as_slice(), &index, &mut wanted, &to).unwrap();
        assert!(build_layer(&store, &manifest, &to).is_err(), "files are others");
        let mut wanted: BTreeSet<PackedFile> = index.iter().copied().collect();
        assert!(read_pack(&mut &noise[1..], &index, &mut wanted, &to).is_err(), "it is too short");
    }

    #[test]
    fn an_index_of_another_form_is_refused() {
        for bytes in [&b""[..], b"kiln pack 2\n", b"kiln pack 1\nx"] {
            assert!(parse_index(bytes).is_err());
        }
        assert_eq!(parse_index(b"kiln pack 1\n").unwrap(), []);
    }
}
