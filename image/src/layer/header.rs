//! Headers as they are packed: ustar, with pax records only where ustar cannot say it.
//!
//! The same entry always gives the same bytes. There are no names of users and groups, no times but the
//! modification's, and no padding beyond the format's.

use tar::{EntryType, Header};

use super::entry::{EntryKind, PackEntry};
use super::error::{LayerError, shown};
use super::pax;

/// The unit of the format.
pub(super) const BLOCK_BYTES: usize = 512;
/// What a removed name starts with.
pub(super) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The name that makes its directory opaque.
pub(super) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// The largest number of seven octal digits.
const MAX_OCTAL_7: u64 = 0o777_7777;
/// The largest number of eleven octal digits.
const MAX_OCTAL_11: u64 = 0o777_7777_7777;

/// The header blocks of an entry, its content left out.
pub(super) fn encode(entry: &PackEntry<'_>) -> Result<Vec<u8>, LayerError> {
    check_path(entry)?;
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    let name = archive_name(entry);
    if !set_name(&mut header, &name) {
        push_text(&mut records, b"path", &name);
        set_name(&mut header, &name[..name.len().min(100)]);
    }
    set_kind(&mut header, &mut records, entry)?;
    set_meta(&mut header, &mut records, entry)?;
    header.set_cksum();

    let mut blocks = Vec::with_capacity(3 * BLOCK_BYTES);
    if !records.is_empty() {
        let mut extension = Header::new_ustar();
        set_name(&mut extension, b"././@PaxHeader");
        extension.set_entry_type(EntryType::XHeader);
        extension.set_mode(0o644);
        extension.set_uid(0);
        extension.set_gid(0);
        extension.set_mtime(0);
        extension.set_size(records.len() as u64);
        extension.set_cksum();
        blocks.extend_from_slice(extension.as_bytes());
        blocks.extend_from_slice(&records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    blocks.extend_from_slice(header.as_bytes());
    Ok(blocks)
}

/// Refuses paths that are not in the form that [`PackEntry::path`] states, and names that a reader would
/// take for removals.
fn check_path(entry: &PackEntry<'_>) -> Result<(), LayerError> {
    let fail = |reason| Err(LayerError::Unpackable { path: shown(&entry.path), reason });
    let may_be_root = matches!(entry.kind, EntryKind::Dir | EntryKind::OpaqueMarker);
    let is_root = entry.path.is_empty() && may_be_root;
    if !is_root && !is_normal(&entry.path) {
        return fail("the path is not relative and normal");
    }
    let mut components = entry.path.split(|b| *b == b'/');
    if components.any(|component| component.starts_with(WHITEOUT_PREFIX)) {
        return fail("names that start with `.wh.` mean removals in a layer");
    }
    if let EntryKind::Hardlink { target } = &entry.kind
        && !is_normal(target)
    {
        return fail("the hard link's target is not relative and normal");
    }
    if let EntryKind::Symlink { target } = &entry.kind
        && (target.is_empty() || target.contains(&0))
    {
        return fail("the symbolic link's target is empty or contains a NUL byte");
    }
    Ok(())
}

/// Whether a path is relative and has none of `.`, `..`, empty components and NUL bytes.
fn is_normal(path: &[u8]) -> bool {
    !path.contains(&0)
        && path.split(|b| *b == b'/').all(|component| !matches!(component, b"" | b"." | b".."))
}

/// The name in the archive: a directory's ends in a slash, a removal's has its mark.
fn archive_name(entry: &PackEntry<'_>) -> Vec<u8> {
    let path = entry.path.as_slice();
    match entry.kind {
        EntryKind::Dir if path.is_empty() => b"./".to_vec(),
        EntryKind::Dir => [path, b"/"].concat(),
        EntryKind::Whiteout => match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => [&path[..=slash], WHITEOUT_PREFIX, &path[slash + 1..]].concat(),
            None => [WHITEOUT_PREFIX, path].concat(),
        },
        EntryKind::OpaqueMarker if path.is_empty() => OPAQUE_NAME.to_vec(),
        EntryKind::OpaqueMarker => [path, b"/", OPAQUE_NAME].concat(),
        EntryKind::File { .. }
        | EntryKind::Symlink { .. }
        | EntryKind::Hardlink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => path.to_vec(),
    }
}

/// Puts a name into the ustar fields, split at a slash if it is long; false if it does not go in.
fn set_name(header: &mut Header, name: &[u8]) -> bool {
    let Some(fields) = header.as_ustar_mut() else { return false };
    if !name.is_ascii() {
        return false;
    }
    if name.len() <= fields.name.len() {
        fields.name[..name.len()].copy_from_slice(name);
        return true;
    }
    let window = &name[..name.len().min(fields.prefix.len() + 1)];
    // A directory's final slash cannot be where the name is cut: the rest would be empty.
    let cut = window.iter().rposition(|b| *b == b'/').filter(|at| *at > 0 && at + 1 < name.len());
    match cut {
        Some(at) if name.len() - at - 1 <= fields.name.len() => {
            fields.prefix[..at].copy_from_slice(&name[..at]);
            fields.name[..name.len() - at - 1].copy_from_slice(&name[at + 1..]);
            true
        }
        _ => false,
    }
}

fn set_kind(
    header: &mut Header,
    records: &mut Vec<u8>,
    entry: &PackEntry<'_>,
) -> Result<(), LayerError> {
    header.set_size(0);
    let kind = match &entry.kind {
        EntryKind::Dir => EntryType::Directory,
        EntryKind::File { size_bytes, .. } => {
            if *size_bytes > MAX_OCTAL_11 {
                pax::push(records, b"size", size_bytes.to_string().as_bytes());
            } else {
                header.set_size(*size_bytes);
            }
            EntryType::Regular
        }
        EntryKind::Symlink { target } => {
            set_link(header, records, target);
            EntryType::Symlink
        }
        EntryKind::Hardlink { target } => {
            set_link(header, records, target);
            EntryType::Link
        }
        EntryKind::CharDevice { major, minor } => {
            set_device(header, entry, *major, *minor)?;
            EntryType::Char
        }
        EntryKind::BlockDevice { major, minor } => {
            set_device(header, entry, *major, *minor)?;
            EntryType::Block
        }
        EntryKind::Fifo => EntryType::Fifo,
        EntryKind::Whiteout | EntryKind::OpaqueMarker => EntryType::Regular,
    };
    header.set_entry_type(kind);
    Ok(())
}

fn set_link(header: &mut Header, records: &mut Vec<u8>, target: &[u8]) {
    let field = &mut header.as_old_mut().linkname;
    let fits = target.len() <= field.len() && target.is_ascii();
    if !fits {
        push_text(records, b"linkpath", target);
    }
    let shown = if fits { target } else { &[] };
    field[..shown.len()].copy_from_slice(shown);
}

fn set_device(
    header: &mut Header,
    entry: &PackEntry<'_>,
    major: u32,
    minor: u32,
) -> Result<(), LayerError> {
    let reason = "its device number is too large";
    let fail = || LayerError::Unpackable { path: shown(&entry.path), reason };
    if u64::from(major.max(minor)) > MAX_OCTAL_7 {
        return Err(fail());
    }
    header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).map_err(|_| fail())
}

fn set_meta(
    header: &mut Header,
    records: &mut Vec<u8>,
    entry: &PackEntry<'_>,
) -> Result<(), LayerError> {
    let meta = &entry.meta;
    let is_mark = matches!(entry.kind, EntryKind::Whiteout | EntryKind::OpaqueMarker);
    header.set_mode(if is_mark { 0 } else { meta.mode & 0o7777 });
    let mut owner = |key: &[u8], id: u32| {
        let id = if is_mark { 0 } else { u64::from(id) };
        if id > MAX_OCTAL_7 {
            pax::push(records, key, id.to_string().as_bytes());
            return 0;
        }
        id
    };
    header.set_uid(owner(b"uid", meta.uid));
    header.set_gid(owner(b"gid", meta.gid));
    match u64::try_from(meta.mtime_seconds) {
        Ok(seconds) if seconds <= MAX_OCTAL_11 => header.set_mtime(seconds),
        _ => {
            pax::push(records, b"mtime", meta.mtime_seconds.to_string().as_bytes());
            header.set_mtime(0);
        }
    }
    for (name, value) in meta.xattrs.iter().filter(|_| !is_mark) {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            let reason = "the name of an extended attribute is empty or contains `=` or a NUL byte";
            return Err(LayerError::Unpackable { path: shown(&entry.path), reason });
        }
        pax::push(records, &[pax::XATTR_PREFIX, name].concat(), value);
    }
    Ok(())
}

/// A record whose value is text; bytes that are not UTF-8 are announced as the standard wants it.
fn push_text(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if std::str::from_utf8(value).is_err() {
        pax::push(records, b"hdrcharset", b"BINARY");
    }
    pax::push(records, key, value);
}
