//! The operations of a build graph.
//!
//! There are five kinds, the same as in BuildKit's LLB. An op says what is to be done and names what it
//! reads by the index of its vertex's inputs. What is no part of an op's identity (cache mount contents, secret
//! values, proxy variables) is said at the field, and left out in [`Op::walk`].

use crate::{ContentHash as _, Digest, GuestPath, SourceOp};

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Brings content in from outside; no inputs.
    Source(SourceOp),
    /// Runs a command; input 0 is its root filesystem, further inputs are those its mounts name.
    Exec(ExecOp),
    /// Changes files; input 0 is the filesystem changed, further inputs are those its copies name.
    File(FileOp),
    /// Stacks all inputs, lowest first.
    Merge,
    /// What input 1 has above input 0.
    Diff,
}

/// A command and the sandbox it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecOp {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Names and values, in order.
    pub env: Vec<(String, String)>,
    /// Where the command starts; made if absent.
    pub cwd: GuestPath,
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// The sandbox's host name; nothing for the default.
    pub hostname: Option<String>,
    /// What network it sees.
    pub network: NetworkMode,
    /// How it is confined.
    pub security: SecurityMode,
    /// What is mounted into its root, in order.
    pub mounts: Vec<Mount>,
    /// Proxy variables, given to the command but no part of its identity.
    pub proxy_env: Vec<(String, String)>,
    /// Devices of the host's that the command works with, in order.
    pub devices: Vec<DeviceRequest>,
    /// Names for `/etc/hosts` with their addresses, in order. Only the names are part of the identity.
    pub extra_hosts: Vec<(String, String)>,
}

/// A device of the host's, by its name in the Container Device Interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceRequest {
    /// `vendor/class=name`; `vendor/class=*` and `vendor/class` for several, as the engine resolves them.
    pub name: String,
    /// Whether the build fails when the host has no such device. No part of the identity.
    pub required: bool,
}

/// A sandbox's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetworkMode {
    /// What the build as a whole was told.
    #[default]
    Default,
    /// A namespace of its own with nothing but `lo`.
    None,
    /// The host's.
    Host,
}

/// A sandbox's confinement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SecurityMode {
    /// The default capability set and masked paths.
    #[default]
    Sandbox,
    /// All capabilities, nothing masked.
    Insecure,
}

/// One mount of an [`ExecOp`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Where it appears.
    pub target: GuestPath,
    /// What appears there.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A path of another input.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// The path inside that input; symbolic links are followed inside it.
        source: GuestPath,
        /// Whether the command may write there.
        access: MountAccess,
    },
    /// A directory that outlives the build. Its contents are no part of the identity.
    Cache {
        /// The directory's name in the store.
        id: String,
        /// Who else may use it at the same time.
        sharing: CacheSharing,
        /// Index of an input and a path in it with the first contents; nothing for an empty directory.
        seed: Option<(usize, GuestPath)>,
        /// Owner and mode of a newly made directory, unless its first contents are those of a directory that is
        /// no root: then it has that one's.
        uid: u32,
        /// See `uid`.
        gid: u32,
        /// See `uid`; permission bits.
        mode: u32,
        /// Whether the command may write there.
        access: MountAccess,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// The most it may hold, in bytes; nothing for the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A secret. Its value is no part of the identity.
    Secret {
        /// The name under which the caller gave it.
        id: String,
        /// How the command gets at it.
        usage: SecretUse,
        /// Whether the build fails when it was not given.
        required: bool,
    },
    /// The caller's ssh agent.
    Ssh {
        /// The name under which the caller gave it.
        id: String,
        /// Owner and mode of the socket.
        uid: u32,
        /// See `uid`.
        gid: u32,
        /// See `uid`; permission bits.
        mode: u32,
        /// Whether the build fails when it was not given.
        required: bool,
    },
}

/// How a command gets at a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretUse {
    /// Whether it is a file at the mount's target.
    pub file: bool,
    /// The environment variable that holds it.
    pub env: Option<String>,
    /// Owner and mode of the file.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// See `uid`; permission bits.
    pub mode: u32,
}

/// What a command may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountAccess {
    /// Read only.
    ReadOnly,
    /// Read and write; what is written to a bind mount is thrown away.
    ReadWrite,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheSharing {
    /// Everyone.
    #[default]
    Shared,
    /// Nobody else: a further user gets a directory of its own.
    Private,
    /// Nobody else: a further user waits.
    Locked,
}

/// A list of changes to files, done in order and committed as one layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileOp {
    /// The changes, in order.
    pub actions: Vec<FileAction>,
}

/// One change to files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// Makes a directory and its missing parents; an existing directory is left as it is.
    Mkdir {
        /// Where.
        path: GuestPath,
        /// Permission bits.
        mode: u32,
        /// Whose; nothing for root's.
        owner: Option<OwnerSpec>,
    },
    /// Writes a file, in place of one that is there.
    Mkfile {
        /// The file's own path. (A heredoc whose destination may turn out to be a directory is written
        /// to an empty filesystem first and copied from there.)
        path: GuestPath,
        /// Permission bits.
        mode: u32,
        /// Whose; nothing for root's.
        owner: Option<OwnerSpec>,
        /// All of the file.
        content: Vec<u8>,
    },
    /// Copies from an input.
    Copy(CopyOp),
}

/// A COPY or ADD of one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyOp {
    /// Index into the vertex's inputs.
    pub input: usize,
    /// What to copy: a cleaned absolute path in that input, perhaps with the wildcards `* ? [` of Go's
    /// `filepath.Match`, which never match a slash.
    pub source: String,
    /// Whether `source` may hold wildcards.
    pub wildcard: bool,
    /// Whether wildcards or `include` patterns that match nothing are an error.
    pub required: bool,
    /// Where to: cleaned and absolute.
    pub dest: GuestPath,
    /// Whether the destination is a directory to copy into, whatever is there now: it was written as `.` or
    /// empty, or with a slash or `/.` at its end. Several sources alone do not make it one.
    pub dest_is_dir: bool,
    /// Owner given to everything copied. Without one everything keeps the owner it has in the input, which in
    /// a build context is always root.
    pub owner: Option<OwnerSpec>,
    /// Mode given to everything copied; nothing keeps the source's.
    pub mode: Option<ModeSpec>,
    /// Whether a local archive is unpacked (ADD).
    pub unpack: bool,
    /// Patterns of what alone to take of each directory that `source` matches, in `.dockerignore` syntax and
    /// relative to it, with the directories on the way (`--parents`); empty for everything.
    pub include: Vec<String>,
    /// Patterns of what to leave out, relative to the copied root, in `.dockerignore` syntax.
    pub exclude: Vec<String>,
    /// Patterns of the context's ignore file, in `.dockerignore` syntax; empty but for a local context.
    pub ignore: Vec<String>,
}

/// `user[:group]` as written: names are looked up in the filesystem that is changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerSpec(pub String);

/// A mode as written: octal, or symbolic as chmod(1) has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModeSpec {
    /// Permission bits.
    Octal(u32),
    /// Such as `u+rwX,go=r`, valid by construction in the frontend.
    Symbolic(String),
}

impl Op {
    /// Whether a result may be recorded under the op's key: not where the op alone does not say what the
    /// result is.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::Source(source) => source.is_recorded(),
            Self::Exec(_) | Self::File(_) | Self::Diff => true,
            Self::Merge => false,
        }
    }

    /// The op's own identity, without its inputs.
    #[must_use]
    pub fn definition(&self) -> Digest {
        self.digest("kiln op 1")
    }
}
