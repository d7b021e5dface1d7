//! What can go wrong when a COPY selects and writes files.

use kiln_ir::PatternError;

use crate::CacheError;

/// A COPY, ADD or other change of files that cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The tree, the layer being written or the disk failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A pattern of an ignore file or of `--exclude` is none.
    #[error(transparent)]
    Exclusion(#[from] PatternError),
    /// A source's wildcards are no pattern.
    #[error("`{}` is not a pattern of file names", pattern.escape_debug())]
    Wildcard {
        /// The source as written.
        pattern: String,
    },
    /// A source is not there.
    #[error("`{}` does not exist", source_path.escape_debug())]
    Missing {
        /// The source as written.
        source_path: String,
        /// Names that are there and look like it, nearest first.
        nearest: Vec<String>,
    },
    /// A source is there, but the ignore file leaves it out.
    #[error("`{}` is left out by the ignore file", source_path.escape_debug())]
    Ignored {
        /// The source as written.
        source_path: String,
    },
    /// Symbolic links lead round and round.
    #[error("`{}` leads through too many symbolic links", path.escape_debug())]
    TooManyLinks {
        /// The path that was followed.
        path: String,
    },
    /// A file changed while it was being read or copied.
    #[error("`{}` changed while it was being read", path.escape_debug())]
    Changed {
        /// The file in its tree.
        path: String,
    },
    /// A directory is needed where something else stands.
    #[error("`{}` is not a directory", path.escape_debug())]
    NotADirectory {
        /// The path in the destination.
        path: String,
    },
    /// A directory would have to be copied over something that is none.
    #[error("cannot copy a directory over `{}`, which is not a directory", path.escape_debug())]
    DirectoryOverFile {
        /// The path in the destination.
        path: String,
    },
    /// A file would have to replace a directory.
    #[error("cannot replace the directory `{}` with a file", path.escape_debug())]
    FileOverDirectory {
        /// The path in the destination.
        path: String,
    },
    /// A user or group is no number, and the image does not know the name.
    #[error("the image has no {what} `{}`", name.escape_debug())]
    UnknownOwner {
        /// `user` or `group`.
        what: &'static str,
        /// The name as written.
        name: String,
        /// Names that are there and look like it, nearest first.
        nearest: Vec<String>,
    },
    /// A mode that is neither octal nor symbolic.
    #[error("`{}` is not a file mode", mode.escape_debug())]
    BadMode {
        /// The mode as written.
        mode: String,
    },
    /// An archive's entry has a place outside of where it is unpacked.
    #[error("the archive entry `{}` leads out of `{}`", entry.escape_debug(), dest.escape_debug())]
    Escape {
        /// The entry's name or link target.
        entry: String,
        /// Where the archive is unpacked.
        dest: String,
    },
}

impl SelectError {
    /// Lines of advice, for whoever shows the error.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { nearest, .. } | Self::UnknownOwner { nearest, .. } => {
                nearest.iter().map(|name| format!("did you mean `{name}`?")).collect()
            }
            Self::Ignored { source_path } => {
                let path = source_path.trim_start_matches('/');
                vec![format!("a line `!{path}` at the end of the ignore file brings it back")]
            }
            Self::Cache(_)
            | Self::Exclusion(_)
            | Self::Wildcard { .. }
            | Self::TooManyLinks { .. }
            | Self::Changed { .. }
            | Self::NotADirectory { .. }
            | Self::DirectoryOverFile { .. }
            | Self::FileOverDirectory { .. }
            | Self::BadMode { .. }
            | Self::Escape { .. } => Vec::new(),
        }
    }

    /// Whether the cause is a full disk or an exhausted quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Cache(cause) if cause.is_disk_full())
    }
}

/// A path as people see it: absolute, and readable whatever its bytes.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The names most like `name`, nearest first: at most three, and none that is quite different.
pub(crate) fn nearest_names(name: &str, among: impl Iterator<Item = String>) -> Vec<String> {
    let limit = 1 + name.chars().count() / 4;
    let mut near: Vec<(usize, String)> = among
        .map(|other| (strsim::damerau_levenshtein(name, &other), other))
        .filter(|(distance, other)| *distance <= limit || other.eq_ignore_ascii_case(name))
        .collect();
    near.sort();
    near.truncate(3);
    near.into_iter().map(|(_, other)| other).collect()
}
