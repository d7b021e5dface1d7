//! What is fetched from networks: downloads and commits, each as a layer.
//!
//! Everything that comes is hostile until it lies in a layer: sizes are limited, credentials go to the host that
//! they are named for, and git runs as [`command`] says. A layer that was made from an address is found again
//! by what the server says of it, so that an unchanged source costs one request.

mod checkout;
mod command;
mod error;
mod git;
mod http;
mod refs;
mod submodules;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_executor::Hidden;
use kiln_solver::{Cancel, Report};

pub use error::RemoteError;

use crate::EngineError;
use crate::secrets::SecretSource;

/// What fetching works with besides the address.
pub(crate) struct Access<'a> {
    /// The build's secrets by id.
    pub(crate) secrets: &'a BTreeMap<String, SecretSource>,
    /// Told how far it is.
    pub(crate) report: &'a dyn Report,
    /// Asked from time to time.
    pub(crate) cancel: &'a Cancel,
    /// The ssh agent's socket, where repositories may be reached with it.
    pub(crate) agent: Option<PathBuf>,
    /// Whether what is known of earlier builds is passed over.
    pub(crate) fresh: bool,
}

impl Access<'_> {
    /// The value of the first of these secrets that the build was given, with its id.
    fn secret(&self, ids: &[String]) -> Result<Option<(usize, Hidden)>, EngineError> {
        for (index, id) in ids.iter().enumerate() {
            if let Some(source) = self.secrets.get(id) {
                return Ok(Some((index, source.read(id)?)));
            }
        }
        Ok(None)
    }

    fn check_cancelled(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }
}
