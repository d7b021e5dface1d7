//! Results on their way out of the store: images, archives, directories.

mod archive;
mod assemble;
mod tree;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub(crate) use assemble::{Assembled, Form, Parts, base_time, descriptor};
pub(crate) use tree::TreePart;

use crate::EngineError;

/// Where a result goes besides the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An OCI layout: a tar archive, or a directory.
    Oci {
        /// Where to.
        dest: Destination,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where to.
        dest: Destination,
    },
    /// The files of the image's root in a tar archive.
    Tar {
        /// Where to.
        dest: Destination,
        /// Whether each platform has a directory in it.
        split: PlatformSplit,
    },
    /// The files of the image's root in a directory.
    Local {
        /// The directory; made if absent.
        dir: PathBuf,
        /// Whether each platform has a directory in it.
        split: PlatformSplit,
    },
    /// Nothing, not even an image in the store: only the cache is filled.
    CacheOnly,
}

/// Whether the files of each platform have a directory of their own, such as `linux_arm64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformSplit {
    /// When there are several platforms.
    #[default]
    Several,
    /// Also when there is one.
    Always,
    /// Not even when there are several; then no two may have the same file.
    Never,
}

/// Where an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, replaced when the new one is whole.
    File(PathBuf),
    /// A directory, for an OCI layout that is not packed.
    Dir(PathBuf),
    /// The standard output.
    Stdout,
}

/// Writes a file or the standard output by what `write` does. A file gets its name when it is whole.
pub(crate) fn write_to<T>(
    dest: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    match dest {
        Destination::Stdout => {
            let mut out = BufWriter::new(io::stdout().lock());
            let result = write(&mut out)?;
            out.flush().map_err(write_error("output", Path::new("-")))?;
            Ok(result)
        }
        Destination::File(path) | Destination::Dir(path) => {
            let failed = write_error("output", path);
            if path.is_dir() {
                return Err(EngineError::InTheWay { path: path.clone(), expected: "a file" });
            }
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = dir.unwrap_or(Path::new("."));
            std::fs::create_dir_all(dir).map_err(write_error("directory", dir))?;
            let mut file = NamedTempFile::new_in(dir).map_err(&failed)?;
            let mut out = BufWriter::new(file.as_file_mut());
            let result = write(&mut out)?;
            out.flush().map_err(&failed)?;
            drop(out);
            publish(file, path)?;
            Ok(result)
        }
    }
}

/// Gives a temporary file its name, readable as any new file is.
pub(crate) fn publish(file: NamedTempFile, path: &Path) -> Result<(), EngineError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = 0o666 & !umask();
    let failed = write_error("output", path);
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(&failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// The process's umask, read without changing it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o022)
}

pub(crate) fn write_error<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl Fn(io::Error) -> EngineError + use<'p> {
    move |source| EngineError::WriteFile { what, path: path.to_owned(), source }
}
