//! Root filesystems that commands have left as they found them, for the next command on the same layers.
//!
//! To mount a root filesystem and to take it down costs as much as all else about a short command, and a command that
//! checks something, such as a linter, often changes nothing.

use std::sync::{Mutex, PoisonError};

use kiln_cache::layer::Staging;
use kiln_executor::KeptRoot;
use kiln_ir::{DeviceRequest, Digest, ExecOp, Mount, SecurityMode};

/// So many are kept; beyond that the oldest goes.
const MOST: usize = 4;

/// All that a root filesystem depends on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootKey {
    /// The layers of each input, those without content left out: the first one's are what is mounted, the others' decide
    /// what sort of mount points there are.
    inputs: Vec<Vec<Digest>>,
    mounts: Vec<Mount>,
    devices: Vec<DeviceRequest>,
    security: SecurityMode,
}

impl RootKey {
    pub(super) fn new(op: &ExecOp, inputs: Vec<Vec<Digest>>) -> Self {
        Self {
            inputs,
            mounts: op.mounts.clone(),
            devices: op.devices.clone(),
            security: op.security,
        }
    }
}

/// A root filesystem with the directories that it is made of.
#[derive(Debug)]
pub(super) struct Kept {
    key: RootKey,
    // Before its directories: it is taken down first.
    root: KeptRoot,
    staging: Staging,
}

/// Those of one build.
#[derive(Debug, Default)]
pub(super) struct KeptRoots(Mutex<Vec<Kept>>);

impl KeptRoots {
    pub(super) fn keep(&self, key: RootKey, root: KeptRoot, staging: Staging) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if kept.len() == MOST { Some(kept.remove(0)) } else { None };
        kept.push(Kept { key, root, staging });
        drop(kept);
        // What takes time is done when others can go on.
        drop(oldest);
    }

    /// One that serves for `key`, if there is one. It is the caller's.
    pub(super) fn take(&self, key: &RootKey) -> Option<(KeptRoot, Staging)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|root| root.key == *key)?;
        let Kept { key: _, root, staging } = kept.remove(index);
        Some((root, staging))
    }
}
