//! What lies at the bottom of a failure, as far as it decides what is done next.

use std::error::Error;
use std::io;

use kiln_cache::CacheError;
use kiln_cache::select::SelectError;
use kiln_solver::StepError;

use super::EngineError;
use crate::remote::RemoteError;

impl EngineError {
    /// That a layer is lost which a cache from elsewhere promised, if this is what failed: the build would go well
    /// without it.
    pub(crate) fn lost_layer(&self) -> Option<&Self> {
        if let Self::Steps(steps) = self {
            return steps.iter().find_map(|step| step.engine_error().and_then(Self::lost_layer));
        }
        matches!(self, Self::LostLayer { .. }).then_some(self)
    }

    /// Whether the cause is a damaged database of the store: whoever opens the store next makes it anew.
    #[must_use]
    pub fn is_damaged_store(&self) -> bool {
        self.is_by(Cause::DamagedStore)
    }

    /// Whether the cause is a full disk or an exhausted quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.is_by(Cause::FullDisk)
    }

    fn is_by(&self, cause: Cause) -> bool {
        if let Self::Command { disk_full, .. } = self {
            return *disk_full && cause == Cause::FullDisk;
        }
        if let Self::Images(images) = self {
            return images.iter().any(|image| image.error.is_by(cause));
        }
        if let Self::Steps(steps) = self {
            return steps.iter().any(|step| match &step.error {
                StepError::Run(error) => error.is_by(cause),
                StepError::Lookup(error) | StepError::Lock(error) | StepError::Record(error) => {
                    cause.is_of_cache(error)
                }
            });
        }
        // These stand for their causes, so that the chain of causes does not hold them.
        if let Self::Cache(error) | Self::Select(SelectError::Cache(error)) = self {
            return cause.is_of_cache(error);
        }
        if let Self::Remote(RemoteError::Git { said, .. }) = self {
            return cause == Cause::FullDisk && said.contains("No space left on device");
        }
        let mut error: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(current) = error {
            if cause.is(current) {
                return true;
            }
            error = current.source();
        }
        false
    }
}

/// Something that may lie at the bottom of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    FullDisk,
    DamagedStore,
}

impl Cause {
    fn is_of_cache(self, error: &CacheError) -> bool {
        match self {
            Self::FullDisk => error.is_disk_full(),
            Self::DamagedStore => error.is_damaged_store(),
        }
    }

    fn is(self, error: &(dyn Error + 'static)) -> bool {
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let full = matches!(io, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        (full && self == Self::FullDisk)
            || error.downcast_ref::<CacheError>().is_some_and(|error| self.is_of_cache(error))
    }
}
