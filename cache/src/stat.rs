//! What the kernel says of a file, as far as it tells whether the file is still the same.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::tree::Mtime;

/// What a [`StatKey`] and a file's type and names are read from.
pub(crate) const MASK: StatxFlags =
    StatxFlags::BASIC_STATS.difference(StatxFlags::ATIME.union(StatxFlags::BLOCKS));

/// Ticks of clocks are shorter than this.
const TICK_NANOS: i128 = 50_000_000;
/// Filesystems without parts of a second have ticks of up to two.
const COARSE_TICK_NANOS: i128 = 2_000_000_000;

/// What must be equal for a file to be the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatKey {
    /// The filesystem's device.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
    /// Its length.
    pub size_bytes: u64,
    /// When its content changed; anyone can set this.
    pub mtime: Mtime,
    /// When anything of it changed; nobody can set this.
    pub ctime: Mtime,
    /// Its type and permissions.
    pub mode: u32,
}

impl StatKey {
    pub(crate) fn of(stat: &Statx) -> Self {
        let time =
            |stamp: rustix::fs::StatxTimestamp| Mtime { secs: stamp.tv_sec, nanos: stamp.tv_nsec };
        Self {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size_bytes: stat.stx_size,
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
            mode: u32::from(stat.stx_mode),
        }
    }

    /// That of an open file, now.
    pub(crate) fn now(file: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, MASK).map(|stat| Self::of(&stat))
    }

    /// Whether the file, read at `now`, could change after and look the same.
    pub(crate) fn is_racy(&self, now: Mtime) -> bool {
        let coarse = self.mtime.nanos == 0 && self.ctime.nanos == 0;
        let tick = if coarse { COARSE_TICK_NANOS } else { TICK_NANOS };
        nanos(self.ctime) + tick >= nanos(now)
    }
}

fn nanos(time: Mtime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}
