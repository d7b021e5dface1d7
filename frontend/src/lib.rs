//! Dockerfile syntax and facts to a build graph and an image config.
//!
//! [`plan`] is a pure function: it reads no file, no clock, no environment and no network. What it must
//! know of the world (the configs of base images) it asks for ([`Planning::Need`]) and is called again.
//! Words are evaluated here and nowhere else; nothing here is executed, fetched or printed.

mod address;
mod build;
mod check;
mod context;
mod diagnostic;
mod environment;
mod epoch;
mod expand;
mod facts;
mod globals;
mod gotext;
mod include;
mod link;
mod lower;
mod mistakes;
mod no_cache;
mod onbuild;
mod options;
mod outline;
mod plan;
mod render;
mod rule;
mod stage;
mod stages;
mod survey;
mod syntax_codes;
mod visible;

pub use address::{
    Address, AddressError, GitAddress, parse_address, parse_context_address, redact,
};
pub use check::{Check, Checked, Extent, check, holds_secret};
pub use context::{CONTEXT_FILE, downloaded_context, unpacked_context};
pub use diagnostic::{Diagnostic, Label, Severity, syntax_diagnostics};
pub use facts::{FactRequest, Facts, ResolvedImage};
pub use include::{Expansion, Location, SourceText, expand};
pub use kiln_grammar::{Span, line_column};
pub use kiln_image::HistoryEntry;
pub use no_cache::NoCache;
pub use options::{BuildOptions, Entitlement, MAIN_CONTEXT, NamedContext, RunOptions, StepNames};
pub use outline::{Argument, Outline, Secret, Target, outline, targets};
pub use plan::{Plan, Planning, SourceEntry, SourceMap, plan};
pub use render::render;
pub use rule::{Rule, codes};
pub use visible::{steers, visible};
