//! Reading an archive entry by entry, trusting nothing in it.
//!
//! Names come out relative and normal (see [`PackEntry::path`]), whatever stood in the archive: absolute
//! ones lose their root, as Docker has it, and ones that lead out of the root by `..` are refused. What a
//! path means where links exist already is for the one who writes the files. The format is read as Go's
//! `archive/tar` reads it, for that is what images are made with.

use std::fmt;
use std::io::{self, Read};

use tar::Header;

use super::decompress;
use super::entry::{EntryKind, EntryMeta, PackEntry};
use super::error::{LayerError, shown};
use super::extension::Extensions;
use super::header::{OPAQUE_NAME, WHITEOUT_PREFIX};
use super::input::Input;
use super::limits::Limits;
use super::sparse::{self, SparseMap};
use crate::OciDigest;

/// Bytes that may follow the end mark: the padding of any tape drive there ever was.
const MAX_TRAILING_BYTES: u64 = 16 << 20;

/// What an archive is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// As an image's layer: `.wh.` names are removals, and the plain bytes are hashed.
    Layer,
    /// As a file that ADD unpacks: every name is a name.
    Archive,
}

/// What is known when an archive was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// The digest of the plain archive; hashed for [`Purpose::Layer`] only.
    pub diff_id: Option<OciDigest>,
    /// The size of the plain archive.
    pub size_bytes: u64,
}

/// The entries of an archive; see [`entries`].
pub struct Entries<'r> {
    input: Input<'r>,
    purpose: Purpose,
    limits: Limits,
    entries: u64,
    content_bytes: u64,
    body: Body,
}

/// What is left of the present entry's content.
#[derive(Default)]
struct Body {
    /// Bytes in the archive, padding left out.
    stored_left: u64,
    padding: u64,
    sparse: Option<SparseBody>,
}

struct SparseBody {
    map: SparseMap,
    at: u64,
    segment: usize,
}

/// An entry without its content.
struct Parts {
    path: Vec<u8>,
    kind: PartKind,
    meta: EntryMeta,
}

enum PartKind {
    File { size_bytes: u64 },
    Other(EntryKind<'static>),
}

/// Opens an archive for reading, whatever it is compressed with.
///
/// # Errors
///
/// Fails when the stream fails before anything is known of it.
pub fn entries<'r>(
    reader: impl Read + 'r,
    purpose: Purpose,
    limits: Limits,
) -> Result<Entries<'r>, LayerError> {
    let input = Input::new(decompress::plain(reader)?, purpose == Purpose::Layer);
    let body = Body::default();
    Ok(Entries { input, purpose, limits, entries: 0, content_bytes: 0, body })
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Entries");
        debug.field("purpose", &self.purpose).field("entries", &self.entries);
        debug.finish_non_exhaustive()
    }
}

impl Entries<'_> {
    /// The next entry, in the archive's order; what was not read of the last one's content is skipped.
    ///
    /// # Errors
    ///
    /// Fails when the stream fails or ends early, when a header is damaged, when an entry is refused, and
    /// beyond the limits. After an error the archive is of no further use.
    pub fn next_entry(&mut self) -> Result<Option<PackEntry<'_>>, LayerError> {
        let parts = loop {
            self.skip_body()?;
            let Some((header, extensions)) = self.next_header()? else { return Ok(None) };
            if let Some(parts) = self.parts(&header, extensions)? {
                break parts;
            }
        };
        let Parts { path, kind, meta } = parts;
        let kind = match kind {
            PartKind::File { size_bytes } => {
                let content = Content { input: &mut self.input, body: &mut self.body };
                EntryKind::File { size_bytes, content: Box::new(content) }
            }
            PartKind::Other(kind) => kind,
        };
        Ok(Some(PackEntry { path, kind, meta }))
    }

    /// Reads what follows the last entry, so that the digest covers the whole archive.
    ///
    /// # Errors
    ///
    /// Fails as [`Entries::next_entry`] does; entries that were not read yet are read and checked.
    pub fn finish(mut self) -> Result<ArchiveSummary, LayerError> {
        while self.next_entry()?.is_some() {}
        self.input.drain(MAX_TRAILING_BYTES)?;
        let (diff_id, size_bytes) = self.input.finish();
        Ok(ArchiveSummary { diff_id, size_bytes })
    }

    fn skip_body(&mut self) -> Result<(), LayerError> {
        let body = std::mem::take(&mut self.body);
        self.input.skip(body.stored_left + body.padding)
    }

    /// The next header that is an entry's own, with the extensions that stood before it.
    fn next_header(&mut self) -> Result<Option<(Header, Extensions)>, LayerError> {
        let mut extensions = Extensions::default();
        let mut left = self.limits.extension_bytes;
        loop {
            let Some(header) = self.input.header(self.entries)? else { return Ok(None) };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(limit("entries", self.limits.entries));
            }
            let flag = header.as_old().linkflag[0];
            if !matches!(flag, b'x' | b'g' | b'L' | b'K') {
                return Ok(Some((header, extensions)));
            }
            let size_bytes = self.input.size(&header, self.entries)?;
            left = left
                .checked_sub(size_bytes)
                .ok_or_else(|| limit("bytes of extension records", self.limits.extension_bytes))?;
            let records = self.input.padded(size_bytes)?;
            let damaged = |reason| LayerError::Header { entries: self.entries, reason };
            match flag {
                b'x' => extensions.read(&records).map_err(damaged)?,
                b'L' => extensions.path = Some(until_nul(&records).to_vec()),
                b'K' => extensions.link = Some(until_nul(&records).to_vec()),
                // Records for all entries to come: Docker passes over them too.
                _ => {}
            }
        }
    }

    /// Makes an entry of a header; `None` for what a layer's reader is to pass over.
    fn parts(
        &mut self,
        header: &Header,
        extensions: Extensions,
    ) -> Result<Option<Parts>, LayerError> {
        let raw_path = match &extensions.path {
            Some(path) => path.clone(),
            None => header.path_bytes().into_owned(),
        };
        let refused = |reason| LayerError::Refused { path: shown(&raw_path), reason };
        let path = clean(&raw_path, self.limits.path_bytes).map_err(refused)?;
        let flag = match header.as_old().linkflag[0] {
            b'0' | 0 | b'7' if raw_path.ends_with(b"/") => b'5',
            b'0' | 0 | b'7' => b'0',
            flag => flag,
        };
        let meta = extensions.meta(header).map_err(refused)?;
        let link = match &extensions.link {
            Some(link) => link.clone(),
            None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        };
        let kind = match flag {
            b'0' | b'S' => PartKind::File { size_bytes: self.open_file(header, &extensions)? },
            b'1' => {
                let target = clean(&link, self.limits.path_bytes).map_err(refused)?;
                if target.is_empty() {
                    return Err(refused("it is a hard link to the archive's root"));
                }
                PartKind::Other(EntryKind::Hardlink { target })
            }
            b'2' if link.is_empty() || link.contains(&0) => {
                return Err(refused("the symbolic link's target is empty or contains a NUL byte"));
            }
            b'2' if link.len() > self.limits.path_bytes => {
                return Err(refused("the symbolic link's target is too long"));
            }
            b'2' => PartKind::Other(EntryKind::Symlink { target: link }),
            b'3' | b'4' => PartKind::Other(device(header, flag).map_err(refused)?),
            b'5' => PartKind::Other(EntryKind::Dir),
            b'6' => PartKind::Other(EntryKind::Fifo),
            _ => return Err(refused("it is of an unknown type")),
        };
        if self.purpose == Purpose::Layer
            && let Some(mark) = mark(&path).map_err(refused)?
        {
            return Ok(mark.map(|(path, kind)| Parts { path, kind: PartKind::Other(kind), meta }));
        }
        if path.is_empty() && !matches!(kind, PartKind::Other(EntryKind::Dir)) {
            return Err(refused("it has no name"));
        }
        Ok(Some(Parts { path, kind, meta }))
    }

    /// Prepares the content of a file; the size that the file will have.
    fn open_file(&mut self, header: &Header, extensions: &Extensions) -> Result<u64, LayerError> {
        let stored = match extensions.size_bytes {
            Some(size_bytes) => size_bytes,
            None => self.input.size(header, self.entries)?,
        };
        self.charge(stored)?;
        self.body = Body { stored_left: stored, padding: padding(stored), sparse: None };
        let damaged =
            LayerError::Header { entries: self.entries, reason: "its map of holes is wrong" };
        let (size_bytes, segments) = if header.as_old().linkflag[0] == b'S' {
            let Some((size, segments)) = self.old_gnu_map(header)? else { return Err(damaged) };
            (size, segments)
        } else if let Some(size) = extensions.sparse_size_bytes {
            let Some(segments) = self.pax_map()? else { return Err(damaged) };
            (size, segments)
        } else {
            return Ok(stored);
        };
        let Some(map) = SparseMap::new(size_bytes, segments, self.body.stored_left) else {
            return Err(damaged);
        };
        self.charge(size_bytes)?;
        self.body.sparse = Some(SparseBody { map, at: 0, segment: 0 });
        Ok(size_bytes)
    }

    /// Counts bytes of content against the limit.
    fn charge(&mut self, bytes: u64) -> Result<(), LayerError> {
        self.content_bytes = self.content_bytes.saturating_add(bytes);
        if self.content_bytes > self.limits.content_bytes {
            return Err(limit("bytes of content", self.limits.content_bytes));
        }
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &Header) -> Result<Option<SparseFile>, LayerError> {
        let Some((size_bytes, mut segments, mut more)) = sparse::old_gnu(header) else {
            return Ok(None);
        };
        while more {
            let block = self.input.block()?.ok_or(LayerError::Truncated)?;
            let Some((next, is_extended)) = sparse::old_gnu_more(&block) else { return Ok(None) };
            segments.extend(next);
            more = is_extended;
            if segments.len() as u64 > self.max_segments() {
                return Err(limit("holes in a file", self.max_segments()));
            }
        }
        Ok(Some((size_bytes, segments)))
    }

    /// The map at the start of the content, which is then shorter by the blocks that the map fills.
    fn pax_map(&mut self) -> Result<Option<Vec<sparse::Segment>>, LayerError> {
        let max_segments = self.max_segments();
        let mut reader = sparse::MapReader::new(&mut self.input, self.body.stored_left);
        let segments = sparse::pax_1_0(&mut reader, max_segments)?;
        self.body.stored_left = reader.left_bytes();
        Ok(segments)
    }

    const fn max_segments(&self) -> u64 {
        self.limits.extension_bytes / 8
    }
}

/// The size of a sparse file and its runs.
type SparseFile = (u64, Vec<sparse::Segment>);

/// The bytes of one file.
struct Content<'e, 'r> {
    input: &'e mut Input<'r>,
    body: &'e mut Body,
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(sparse) = &mut self.body.sparse else {
            let read = self.input.content(buffer, self.body.stored_left)?;
            self.body.stored_left -= read as u64;
            return Ok(read);
        };
        while let Some(segment) = sparse.map.segments.get(sparse.segment)
            && sparse.at >= segment.offset + segment.length
        {
            sparse.segment += 1;
        }
        let (until, is_hole) = match sparse.map.segments.get(sparse.segment) {
            Some(segment) if sparse.at < segment.offset => (segment.offset, true),
            Some(segment) => (segment.offset + segment.length, false),
            None => (sparse.map.size_bytes, true),
        };
        let read = if is_hole {
            let room = usize::try_from(until - sparse.at).unwrap_or(usize::MAX).min(buffer.len());
            buffer[..room].fill(0);
            room
        } else {
            let read = self.input.content(buffer, until - sparse.at)?;
            self.body.stored_left -= read as u64;
            read
        };
        sparse.at += read as u64;
        Ok(read)
    }
}

/// Bytes between a file's end and the next header.
const fn padding(size_bytes: u64) -> u64 {
    size_bytes.wrapping_neg() % 512
}

const fn limit(what: &'static str, limit: u64) -> LayerError {
    LayerError::Limit { what, limit }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

fn device(header: &Header, flag: u8) -> Result<EntryKind<'static>, &'static str> {
    let number = |field: io::Result<Option<u32>>| {
        field.ok().flatten().ok_or("it is a device without a number")
    };
    let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
    Ok(match flag {
        b'3' => EntryKind::CharDevice { major, minor },
        _ => EntryKind::BlockDevice { major, minor },
    })
}

/// Brings a name to the form that [`PackEntry::path`] states.
fn clean(raw: &[u8], max_bytes: usize) -> Result<Vec<u8>, &'static str> {
    if raw.contains(&0) {
        return Err("its name contains a NUL byte");
    }
    if raw.len() > max_bytes {
        return Err("its name is too long");
    }
    let is_absolute = raw.starts_with(b"/");
    let mut components: Vec<&[u8]> = Vec::new();
    for component in raw.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if components.pop().is_none() && !is_absolute => {
                return Err("it leads out of the archive");
            }
            b".." => {}
            component => components.push(component),
        }
    }
    Ok(components.join(&b'/'))
}

/// What a name means in a layer: `None` a file, `Some(None)` a thing to pass over.
type Mark = Option<Option<(Vec<u8>, EntryKind<'static>)>>;

/// Recognises the names that stand for removals.
fn mark(path: &[u8]) -> Result<Mark, &'static str> {
    let slash = path.iter().rposition(|b| *b == b'/');
    let (parent, name) = match slash {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    if parent.split(|b| *b == b'/').any(|component| component.starts_with(WHITEOUT_PREFIX)) {
        return Err("it lies below a removal");
    }
    let Some(removed) = name.strip_prefix(WHITEOUT_PREFIX) else { return Ok(None) };
    if name == OPAQUE_NAME {
        return Ok(Some(Some((parent.to_vec(), EntryKind::OpaqueMarker))));
    }
    if removed.starts_with(WHITEOUT_PREFIX) {
        // What AUFS kept for itself in the layers of old.
        return Ok(Some(None));
    }
    if matches!(removed, b"" | b"." | b"..") {
        return Err("it removes nothing that could have a name");
    }
    let at = slash.map_or(0, |at| at + 1);
    Ok(Some(Some(([&path[..at], removed].concat(), EntryKind::Whiteout))))
}

#[cfg(test)]
mod tests;
