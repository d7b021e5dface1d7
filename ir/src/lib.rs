//! The neutral build graph and the identity of content.
//!
//! A [`Graph`] is an acyclic list of [`Vertex`]es, each an [`Op`] over earlier vertices. Nothing here
//! knows Dockerfiles, OCI documents, files or clocks; every type is a value.

mod digest;
mod graph;
mod hash;
mod identity;
mod op;
mod path;
mod pattern;
mod source;
mod walk;

pub use digest::{Digest, DigestError};
pub use graph::{Graph, GraphBuilder, OpId, Origin, Vertex, VertexMeta};
pub use hash::{ContentHash, ContentHasher};
pub use op::{
    CacheSharing, CopyOp, DeviceRequest, ExecOp, FileAction, FileOp, ModeSpec, Mount, MountAccess,
    MountKind, NetworkMode, Op, OwnerSpec, SecretUse, SecurityMode,
};
pub use path::{GuestPath, GuestPathError};
pub use pattern::{PatternError, PatternSet, Verdict, read_ignore_file};
pub use source::{GitSource, HttpSource, ImageSource, LocalSource, SourceOp};
pub use walk::{Label, Value, Walk};
