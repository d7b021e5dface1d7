//! One function for each thing that a user asks for.
//!
//! This is where the crates meet: the frontend's plan, the solver, the store, the sandbox, registries.
//! Nothing here prints, parses arguments or decides on an exit code.

mod build;
mod devices;
mod engine;
mod error;
mod explain;
mod export;
pub mod history;
mod images;
mod inspect;
mod load;
mod origin;
mod remote;
mod runner;
mod secrets;
mod settings;
mod transfer;
mod turns;
mod upkeep;

pub use build::{
    Answer, Bases, BuildContext, BuildRequest, Built, BuiltImage, Conduct, Definition,
    DockerfileSource, Finished, Parameters, PlanRequest, PlannedBuild, PlannedStep, Question,
    SandboxLimits, Supplies, check_only, plan_only,
};
pub use devices::DeviceSettings;
pub use engine::{Engine, EngineConfig};
pub use error::{EngineError, ErrorKind, FailedStep, Faulty, MissingImage, Place};
pub use explain::{
    Distinction, ExplainedStep, Explanation, Nearest, ReadCause, ReadDistinction, Reason,
    StepOutcome,
};
pub use export::{Destination, Output, PlatformSplit};
pub use images::{InspectedImage, ListedImage};
pub use inspect::{
    Attendant, ChangeKind, FailedCommand, FailedSandbox, FileChange, FileState, Moment,
    ShellRequest, Visit,
};
pub use kiln_cache::account::{Change, Changed, Difference, How, Shown};
pub use kiln_cache::tree::{Meta, Node};
pub use kiln_cache::{CacheKey, Gone, Rebuilt, check, gc};
pub use kiln_executor::{
    Attachment, Exit, Input, Resource, ResourceLimit, WindowSize, helper_main, userns,
};
pub use kiln_frontend::{Entitlement, NoCache, RunOptions};
pub use kiln_image::layer::{Compression, PackOptions};
pub use kiln_image::{ImageRef, Platform};
pub use kiln_ir::NetworkMode;
pub use kiln_solver::AfterFailure;
pub use load::LoadedImage;
pub use remote::RemoteError;
pub use runner::Failed;
pub use secrets::SecretSource;
pub use settings::{Age, AgeError, Amount, AmountError, GcSettings, HistorySettings, Settings};
pub use transfer::{
    CacheExtent, CachePlace, CacheTarget, CacheTransfers, DEFAULT_MOUNT_MAX_BYTES, MountChoice,
    OnFailure,
};
