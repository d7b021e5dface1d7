//! What a caller wants run, and what the machine offers: the two inputs of [`crate::plan()`].
//!
//! Both are values. Nothing here looks at a file; [`crate::HostFacts::gather`] does that, once per
//! process.

use std::fmt;
use std::path::PathBuf;

use kiln_ir::GuestPath;
use serde::{Deserialize, Serialize};

/// One command and all that its sandbox is made of.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Directories of the root filesystem, lowest first; may be empty.
    pub lowers: Vec<PathBuf>,
    /// Empty directory that receives what the command changes. Its mode and owner are set to those of
    /// the root's.
    pub upper: PathBuf,
    /// Empty directory for overlay's own use, on the filesystem of `upper`.
    pub work: PathBuf,
    /// Directory for whatever sandboxes need besides, on the filesystem of `upper`. One may serve many
    /// runs, also at the same time: what one has made for missing mount points, later ones find. The
    /// caller removes it when no run uses it any more; nothing stays mounted below it.
    pub scratch: PathBuf,
    /// The command.
    pub process: Process,
    /// The sandbox's host name.
    pub hostname: String,
    /// What network it sees.
    pub network: Network,
    /// How it is confined.
    pub security: Security,
    /// What is mounted into its root besides `/proc`, `/sys`, `/dev`, `/etc/hosts` and
    /// `/etc/resolv.conf`, in order: a later one may lie in an earlier one.
    pub mounts: Vec<MountSpec>,
    /// Resource limits to set; what is not named keeps the caller's.
    pub limits: Vec<ResourceLimit>,
    /// Names for `/etc/hosts` with their addresses, in order.
    pub extra_hosts: Vec<(String, String)>,
    /// The most that `/dev/shm` holds, in bytes; nothing for 64 MiB.
    pub shm_size_bytes: Option<u64>,
}

/// A command, its surroundings and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The program, looked for along the `PATH` of `env` if it holds no slash, and its arguments.
    pub args: Vec<String>,
    /// Names and values, in order; of two with the same name the later counts. `HOME` is added if
    /// absent.
    pub env: Vec<(String, String)>,
    /// Where the command starts; made if absent (owned by root, mode 0755).
    pub cwd: GuestPath,
    /// `user[:group]`, names (looked up in the root's `/etc/passwd` and `/etc/group`) or numbers; empty
    /// for root.
    pub user: String,
    /// What it reads.
    pub input: Input,
}

/// A command's standard input. Anything but nothing is fed by [`crate::Sandboxes::attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Nothing,
    /// A pipe.
    Pipe,
    /// A terminal of the sandbox's own, in the place of both outputs as well.
    Terminal(WindowSize),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// A sandbox's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing but `lo`.
    None,
    /// The host's.
    Host,
}

/// A sandbox's confinement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Docker's default capabilities, masked and read-only paths.
    Sandbox,
    /// All capabilities the caller has, nothing masked, `/sys` writable, nodes for FUSE and loop devices.
    Insecure,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// Where it appears. Symbolic links are followed inside the root; a missing mount point is supplied
    /// without a trace in `upper`.
    pub target: GuestPath,
    /// What appears there.
    pub source: MountSource,
}

/// What a [`MountSpec`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A directory of the host's, such as a cache mount's.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether the command may write there.
        access: Access,
    },
    /// A path of another root filesystem.
    Snapshot {
        /// Its directories, lowest first; may be empty.
        lowers: Vec<PathBuf>,
        /// The path shown, a file or directory; symbolic links are followed inside that root.
        path: GuestPath,
        /// Where writes go, to be thrown away; nothing mounts it read-only.
        writable: Option<Writable>,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// The most it may hold, in bytes; nothing for the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A file that exists in memory only.
    Secret {
        /// All of the file.
        content: Hidden,
        /// Permission bits.
        mode: u32,
        /// Owner, as seen inside.
        uid: u32,
        /// Group, as seen inside.
        gid: u32,
    },
    /// Something of the host's that is no directory: a file, a socket, a device node.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether the command may write to it.
        access: Access,
    },
}

/// What a command may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read only.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// Directories for the writes to a [`MountSource::Snapshot`]: both fresh and empty, on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    /// Receives the writes.
    pub upper: PathBuf,
    /// For overlay's own use.
    pub work: PathBuf,
}

/// Bytes that no message or log may show: its `Debug` form tells the length only.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hidden(pub Vec<u8>);

impl From<Vec<u8>> for Hidden {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// A limit as setrlimit(2) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// What is limited.
    pub resource: Resource,
    /// What counts now; nothing for no limit.
    pub soft: Option<u64>,
    /// How far the command may raise it; nothing for no limit.
    pub hard: Option<u64>,
}

/// What a [`ResourceLimit`] limits, by its name in `docker build --ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "setrlimit(2) says what each is; the names are the same")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// Which of the command's outputs some bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With this code; 127 and 126 also when the program was not found or could not be executed, which
    /// is then said on standard error.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether the command ended with code 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}
