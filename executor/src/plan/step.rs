//! The steps a sandbox is made of.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Access, Hidden, ResourceLimit, WindowSize, Writable};

/// All that is done to start one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxPlan {
    /// What comes first, and may be made ready before the command is known.
    pub frame: Frame,
    /// What comes then, in order.
    pub steps: Vec<Step>,
}

/// A sandbox without a root filesystem and a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Those that the sandbox's first process starts in.
    pub namespaces: Vec<Namespace>,
    /// What that process does, in order.
    pub steps: Vec<Step>,
}

/// One thing done. Paths of type `String` are the guest's, absolute; the others are the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Leaves the caller's session and terminal.
    NewSession,
    /// Keeps what is mounted here from the caller, and the reverse.
    PrivateMounts,
    /// Names the machine.
    SetHostname {
        /// Its name.
        name: String,
    },
    /// Switches the new network namespace's `lo` on.
    LoopbackUp,
    /// Writes a file of the host's that will be shown in the sandbox.
    WriteFile(FileSource),
    /// Mounts memory over a directory of the host's, made if absent, for files that must not reach a disk.
    HostTmpfs {
        /// The directory.
        path: PathBuf,
    },
    /// Makes a directory that stands for the root filesystem: what is put at the guest's paths until
    /// [`Step::MountRoot`] is put there.
    OpenFrame {
        /// A new directory.
        at: PathBuf,
    },
    /// Mounts another root filesystem outside the sandbox's and takes hold of a path in it. Snapshots
    /// are numbered in the order of these steps.
    OpenSnapshot {
        /// Its directories, lowest first.
        lowers: Vec<PathBuf>,
        /// Where writes go; nothing for read-only.
        writable: Option<Writable>,
        /// Holds the empty layers that a stack may need.
        scratch: PathBuf,
        /// A new directory to mount it at.
        at: PathBuf,
        /// The path taken hold of.
        path: String,
    },
    /// Mounts the root filesystem, still outside.
    MountRoot(RootMount),
    /// Puts the root filesystem of a command that changed nothing in it in the place of a new one. The caller gives it with
    /// the steps.
    TakeRoot {
        /// Receives the changes.
        upper: PathBuf,
        /// A new directory to mount it at.
        at: PathBuf,
    },
    /// Moves a directory with all that is mounted there from the frame to the root filesystem.
    AttachFrame {
        /// The directory.
        directory: String,
    },
    /// Mounts one of the kernel's filesystems.
    Mount {
        /// Its type.
        fs: String,
        /// Where.
        target: String,
        /// How.
        flags: Vec<MountFlag>,
        /// The type's own options.
        options: String,
    },
    /// Shows a path of the host's, with all that is mounted below it.
    Bind {
        /// The host's path.
        source: PathBuf,
        /// Where.
        target: String,
        /// What `source` is.
        kind: Kind,
        /// Whether it can be written to.
        access: Access,
    },
    /// Shows what an earlier [`Step::OpenSnapshot`] took hold of.
    AttachSnapshot {
        /// Which one.
        index: usize,
        /// Where.
        target: String,
    },
    /// Mounts an empty filesystem in memory.
    Tmpfs {
        /// Where.
        target: String,
        /// The most it holds, in bytes.
        size_bytes: Option<u64>,
    },
    /// Makes the root filesystem the root. The host's lies on it until the command's process is started, beside which it
    /// is taken off: until [`Step::LeaveHost`], a path with `..` in it may lead there.
    Pivot,
    /// Waits until the host's root filesystem is gone.
    LeaveHost,
    /// Leaves no other capabilities to the programs that will be executed, whatever they are.
    LimitCapabilities {
        /// Those that they may have, as bits.
        keep: u64,
        /// The highest number of one that the kernel knows.
        last: u32,
    },
    /// Makes a device node, mode 0666.
    MakeDevice {
        /// Where.
        path: String,
        /// Whether it is read in characters or in blocks.
        kind: DeviceKind,
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        path: String,
        /// Its target.
        to: String,
    },
    /// Hides a path, if it exists.
    Mask {
        /// Which.
        path: String,
    },
    /// Makes a path read-only, if it exists.
    Protect {
        /// Which.
        path: String,
    },
    /// Puts `/dev/null` in the place of standard input.
    NullInput,
    /// Puts a pipe in the place of standard input, and gives its other end to the caller.
    OfferPipe,
    /// Makes a terminal in the sandbox's `/dev/pts`, and gives its other end to the caller.
    OfferTerminal(WindowSize),
    /// Starts the process that becomes the command. The first process stays behind, reaps orphans, and
    /// kills what is left when the command ends.
    ForkCommand,
    /// Starts a session on the terminal that was made, which takes the place of input and both outputs.
    TakeTerminal,
    /// Sets resource limits.
    SetLimits {
        /// Which.
        limits: Vec<ResourceLimit>,
    },
    /// Makes the command's directory if it is absent, and goes there.
    EnterDirectory {
        /// Which.
        path: String,
    },
    /// Leaves the caller's session keyring.
    NewKeyring,
    /// Refuses system calls as Docker does, to this process and all that come of it.
    FilterSystemCalls,
    /// Takes on the command's ids and gives up all capabilities but the kept ones.
    BecomeUser {
        /// `user[:group]`.
        user: String,
        /// Capabilities, as bits, that root keeps.
        keep_capabilities: u64,
        /// Whether supplementary groups can be set here.
        may_set_groups: bool,
    },
    /// Becomes the command.
    Execute {
        /// The program and its arguments.
        args: Vec<String>,
        /// Names and values.
        env: Vec<(String, String)>,
        /// The directory it starts in, for `PWD`-less lookups and messages.
        cwd: String,
    },
}

/// The root filesystem to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMount {
    /// Its directories, lowest first.
    pub lowers: Vec<PathBuf>,
    /// Receives the changes.
    pub upper: PathBuf,
    /// For overlay's own use.
    pub work: PathBuf,
    /// Holds the stubs of missing mount points, for this run and others.
    pub scratch: PathBuf,
    /// A new directory to mount it at.
    pub at: PathBuf,
    /// Paths that must exist, without a trace in `upper`.
    pub mount_points: Vec<MountPoint>,
    /// Whether another command may have it after one that changed nothing.
    pub outlives: bool,
}

/// A path that something is mounted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// Which.
    pub path: String,
    /// What it must be.
    pub kind: Kind,
}

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything but a directory.
    File,
    /// The same as what an earlier [`Step::OpenSnapshot`] took hold of.
    OfSnapshot(usize),
}

/// The two kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "mknod(2) says what each is")]
pub enum DeviceKind {
    Character,
    Block,
}

/// A file to be written on the host's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSource {
    /// A new path.
    pub path: PathBuf,
    /// All of it.
    pub content: Hidden,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "namespaces(7) says what each is")]
pub enum Namespace {
    Mount,
    Pid,
    Ipc,
    Uts,
    Cgroup,
    Network,
}

/// A flag of mount(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "mount(2) says what each does")]
pub enum MountFlag {
    NoSuid,
    NoExec,
    NoDev,
    ReadOnly,
    StrictAtime,
}

/// What a message says was attempted.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewSession => write!(f, "start a session"),
            Self::PrivateMounts => write!(f, "make mounts private"),
            Self::SetHostname { name } => write!(f, "set the host name `{name}`"),
            Self::LoopbackUp => write!(f, "switch on the loopback interface"),
            Self::WriteFile(file) => write!(f, "write `{}`", file.path.display()),
            Self::HostTmpfs { path } => write!(f, "mount memory at `{}`", path.display()),
            Self::OpenFrame { at } => write!(f, "make the directory `{}`", at.display()),
            Self::OpenSnapshot { path, .. } => {
                write!(f, "open `{path}` of a mounted stage or image")
            }
            Self::MountRoot(root) => {
                write!(f, "mount the root filesystem of {} layers", root.lowers.len())
            }
            Self::TakeRoot { .. } => write!(f, "take over a root filesystem"),
            Self::AttachFrame { directory } => write!(f, "put `{directory}` in its place"),
            Self::Mount { fs, target, .. } => write!(f, "mount {fs} at `{target}`"),
            Self::Bind { source, target, .. } => {
                write!(f, "bind `{}` to `{target}`", source.display())
            }
            Self::AttachSnapshot { target, .. } => write!(f, "bind to `{target}`"),
            Self::Tmpfs { target, .. } => write!(f, "mount memory at `{target}`"),
            Self::Pivot => write!(f, "change the root"),
            Self::LeaveHost => write!(f, "let go of the host's files"),
            Self::MakeDevice { path, .. } => write!(f, "make the device `{path}`"),
            Self::Symlink { path, .. } => write!(f, "make the link `{path}`"),
            Self::Mask { path } => write!(f, "hide `{path}`"),
            Self::Protect { path } => write!(f, "make `{path}` read-only"),
            Self::NullInput => write!(f, "open `/dev/null`"),
            Self::OfferPipe => write!(f, "make a pipe for the command's input"),
            Self::OfferTerminal(_) => write!(f, "make a terminal"),
            Self::TakeTerminal => write!(f, "take the terminal"),
            Self::ForkCommand => write!(f, "start the command's process"),
            Self::SetLimits { .. } => write!(f, "set resource limits"),
            Self::EnterDirectory { path } => write!(f, "enter the working directory `{path}`"),
            Self::LimitCapabilities { .. } => write!(f, "limit capabilities"),
            Self::FilterSystemCalls => write!(f, "filter system calls"),
            Self::NewKeyring => write!(f, "make a keyring"),
            Self::BecomeUser { user, .. } => write!(f, "become the user `{user}`"),
            Self::Execute { args, .. } => {
                write!(f, "execute `{}`", args.first().map_or("", String::as_str))
            }
        }
    }
}
