//! The verbs that tell what the store takes and that make it smaller.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use kiln_engine::gc::EntryKind;
use kiln_engine::{Age, Amount};

use super::ValueError;

/// The names of kinds, as BuildKit has them where it has the kind.
const KINDS: &[&str] =
    &["regular", "exec.cachemount", "source.local", "source.remote", "image", "internal"];
/// What can be filtered by.
const FILTERS: &[&str] = &["until", "unused-for", "type", "id"];

/// `kiln builder`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln builder du
  kiln builder prune --max-used-space 20GB")]
pub struct BuilderArgs {
    /// What to do with the cache.
    #[command(subcommand)]
    pub what: Builder,
}

/// What can be done with the cache.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Builder {
    /// List what the cache holds, largest first
    Du(DuArgs),
    /// Remove what is not used from the cache
    Prune(PruneArgs),
}

/// `kiln builder du`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Sizes are blocks on the disk, hard links counted once, without what an image with a name has too. A layer
or blob that several records need counts in each of them; `kiln system df` counts it once.

Examples:
  kiln builder du
  What has not been used for two days:
    kiln builder du --filter until=48h
  Cache mounts, for use in scripts:
    kiln builder du --filter type=exec.cachemount --format json")]
pub struct DuArgs {
    /// Only what fits: until=DURATION, type=TYPE, id=DIGITS
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = Filter::parse)]
    pub filters: Vec<Filter>,
    /// Print all that is known of each
    #[arg(long)]
    pub verbose: bool,
    /// `table`, or `json`: one object in each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// `kiln builder prune`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Builds may run beside it: nothing goes that one of them uses, and no image that has a name. Without a limit
all goes that may; with limits the least valuable goes first (bytes, times the time since the last use, over
the time to make it again), and no more than needed. Types are regular, exec.cachemount, source.local
(what is known of a context), source.remote (downloads, git), image (without a name), internal (left over).

Examples:
  kiln builder prune
  kiln builder prune --all --force
  What was not used for a day, if the cache takes more than 20 GB:
    kiln builder prune --filter until=24h --max-used-space 20GB
  What would go:
    kiln builder prune --all --dry-run --verbose")]
pub struct PruneArgs {
    /// Also remove what an image with a name has the same content as, and images without a name
    #[arg(short, long)]
    pub all: bool,
    /// Only what fits: until=DURATION (not used for so long), type=TYPE, id=DIGITS
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = Filter::parse)]
    pub filters: Vec<Filter>,
    /// Remove only as much as is over this: 20GB, 512MiB, 60%
    #[arg(long, visible_alias = "keep-storage", value_name = "SIZE")]
    pub max_used_space: Option<Amount>,
    /// Keep as much in any case
    #[arg(long, value_name = "SIZE")]
    pub reserved_space: Option<Amount>,
    /// Remove only as much as it takes to have this free on the disk
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<Amount>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print all that is known of what went
    #[arg(long)]
    pub verbose: bool,
}

/// `kiln system`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln system df
  kiln system check --repair")]
pub struct SystemArgs {
    /// What to do with the store.
    #[command(subcommand)]
    pub what: System,
}

/// What can be done with the store.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum System {
    /// Show what the store takes on the disk
    Df(DfArgs),
    /// Look whether the store is whole
    Check(CheckArgs),
}

/// `kiln system df`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
`Set Aside` is a database that was damaged and made anew: the directory `set-aside` of the store. Kiln
does not need it, and no prune takes it; remove it by hand.

Examples:
  kiln system df
  For use in scripts:
    kiln system df --format json")]
pub struct DfArgs {
    /// Print each entry too
    #[arg(short, long)]
    pub verbose: bool,
    /// `table`, or `json`: one object in each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// `kiln system check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Reads every layer, every blob and the record of every build. Exits with 0 when all is well or was repaired, and
with 6 when something that is wrong remains. Builds may run beside it, unless the database is damaged: it is made
anew from what is whole when nobody else uses the store.

Examples:
  kiln system check
  Dropping what is wrong; it is built or fetched again:
    kiln system check --repair")]
pub struct CheckArgs {
    /// Drop what is wrong, and make a damaged database anew
    #[arg(long)]
    pub repair: bool,
}

/// `kiln rmi`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
The name goes at once; the image's blobs go with the next collection, unless another image or a build
needs them.

Examples:
  kiln rmi app
  All images without a name:
    kiln builder prune --all --filter type=image")]
pub struct RmiArgs {
    /// Images, by name or id; by id all names go
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Not used for this long.
    UnusedFor(Duration),
    /// Of this kind.
    Kind(EntryKind),
    /// With an id that begins so.
    Id(String),
}

impl Filter {
    /// Reads `KEY=VALUE`.
    fn parse(text: &str) -> Result<Self, ValueError> {
        let none = || ValueError::Form { text: text.to_owned(), form: "KEY=VALUE" };
        let (key, value) = text.split_once('=').ok_or_else(none)?;
        match key {
            "until" | "unused-for" => Ok(Self::UnusedFor(duration(value)?)),
            "type" => kind_named(value).map(Self::Kind),
            "id" => Ok(Self::Id(value.to_owned())),
            _ => {
                let (what, name) = ("filter", key.to_owned());
                Err(ValueError::Unknown { what, name, known: FILTERS })
            }
        }
    }
}

/// What a kind is called.
#[must_use]
pub const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Step => "regular",
        EntryKind::CacheMount => "exec.cachemount",
        EntryKind::Context => "source.local",
        EntryKind::Remote => "source.remote",
        EntryKind::Image => "image",
        EntryKind::Leftover => "internal",
    }
}

fn kind_named(name: &str) -> Result<EntryKind, ValueError> {
    let kinds = [
        EntryKind::Step,
        EntryKind::CacheMount,
        EntryKind::Context,
        EntryKind::Remote,
        EntryKind::Image,
        EntryKind::Leftover,
    ];
    let unknown = || ValueError::Unknown { what: "type", name: name.to_owned(), known: KINDS };
    kinds.into_iter().find(|kind| kind_name(*kind) == name).ok_or_else(unknown)
}

/// Reads a duration: `1h30m`, `7d`.
fn duration(text: &str) -> Result<Duration, ValueError> {
    const FORM: &str = "a duration such as 90s, 24h or 7d";
    let none = |_| ValueError::Form { text: text.to_owned(), form: FORM };
    text.parse::<Age>().map(Age::duration).map_err(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        let hours = |hours: u64| Filter::UnusedFor(Duration::from_secs(3600 * hours));
        for (text, filter) in [
            ("until=24h", hours(24)),
            ("unused-for=1d1h", hours(25)),
            ("until=0s", hours(0)),
            ("type=exec.cachemount", Filter::Kind(EntryKind::CacheMount)),
            ("id=ab12", Filter::Id("ab12".to_owned())),
        ] {
            assert_eq!(Filter::parse(text), Ok(filter), "{text}");
        }
        for text in ["until", "until=", "until=24", "until=h", "until=1y", "type=regula", "x=1"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        let error = Filter::parse("type=regula").unwrap_err().to_string();
        assert!(error.contains("`regular`"), "{error}");
    }

    #[test]
    fn every_kind_has_a_name() {
        for name in KINDS {
            assert_eq!(kind_name(kind_named(name).unwrap()), *name);
        }
    }
}
