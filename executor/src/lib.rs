//! One command in one sandbox.
//!
//! [`plan()`] turns a [`RunSpec`] and [`HostFacts`] into a [`SandboxPlan`]: data, ordered lists of
//! [`Step`]s. [`Sandboxes`] sends the plan to a helper, the same binary executed again, which is
//! single-threaded and carries the steps out through the seam that its tests replace. Nothing here knows graphs, caches or
//! images.

#![deny(unsafe_code)]

mod apply;
mod cancel;
mod error;
mod facts;
mod foreign;
mod helper;
mod kernel;
mod linux;
mod mount;
mod pass;
mod plan;
mod report;
mod sandboxes;
mod spec;
#[expect(unsafe_code, reason = "the one place for calls that no dependency wraps")]
mod sys;
pub mod userns;
mod users;

pub use cancel::Cancel;
pub use error::ExecutorError;
pub use facts::{HostFacts, Ids};
pub use helper::helper_main;
pub use plan::{
    DeviceKind, FileSource, Frame, Kind, MountFlag, MountPoint, Namespace, RootMount, SandboxPlan,
    Step, default_capabilities, plan,
};
pub use sandboxes::{Attachment, FailedSandbox, KeptRoot, Left, Running, Sandboxes, Upcoming};
pub use spec::{
    Access, Exit, Hidden, Input, MountSource, MountSpec, Network, Process, Resource, ResourceLimit,
    RunSpec, Security, Stream, WindowSize, Writable,
};
