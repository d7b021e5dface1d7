//! What an archive from outside may ask of its reader.

/// Limits on an archive that is read. The default serves the largest images in use and stops bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of one path or link target; Linux's own limit.
    pub path_bytes: usize,
    /// Bytes of one entry's extension records, which hold its extended attributes.
    pub extension_bytes: u64,
    /// Bytes of all files together, as they would lie on disk, holes included.
    pub content_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            path_bytes: 4096,
            extension_bytes: 1 << 20,
            content_bytes: 1 << 40,
        }
    }
}
