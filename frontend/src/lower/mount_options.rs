//! The options of one `--mount`, read but not yet put together.

use kiln_grammar::{MountFlag, MountOption};
use kiln_ir::CacheSharing;

use super::Scope;
use crate::expand::expand;
use crate::{Diagnostic, Rule};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The kinds of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// What the options say.
#[derive(Debug, Default)]
pub(super) struct MountOptions {
    pub(super) kind: Kind,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) id: String,
    pub(super) env: Option<String>,
    /// `readonly` and `readwrite`, whichever came last.
    pub(super) read_only: Option<bool>,
    pub(super) required: bool,
    pub(super) size_bytes: Option<u64>,
    pub(super) sharing: Option<CacheSharing>,
    pub(super) file: FileInfo,
}

/// Owner and mode of what is mounted, as far as given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileInfo {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl FileInfo {
    fn is_given(self) -> bool {
        self.mode.is_some() || self.uid.is_some() || self.gid.is_some()
    }
}

/// Reads the options of a mount, all but `from`.
pub(super) fn read(flag: &MountFlag, scope: &Scope<'_>) -> Result<MountOptions, Vec<Diagnostic>> {
    let mut options = MountOptions::default();
    let mut errors = Vec::new();
    // The type decides which other options there are, wherever it stands.
    let (types, others): (Vec<_>, Vec<_>) =
        flag.options.iter().partition(|option| option.key.node == "type");
    for option in types.into_iter().chain(others) {
        if let Err(error) = read_option(option, &mut options, scope) {
            errors.push(error);
        }
    }
    if errors.is_empty()
        && let Err(message) = check(&options)
    {
        errors.push(Diagnostic::error(Rule::InvalidMount, flag.span, message));
    }
    if errors.is_empty() { Ok(options) } else { Err(errors) }
}

fn read_option(
    option: &MountOption,
    options: &mut MountOptions,
    scope: &Scope<'_>,
) -> Result<(), Diagnostic> {
    let key = option.key.node.as_str();
    let span = option.value.as_ref().map_or(option.key.span, |value| value.span);
    let fail = |message: String| Diagnostic::error(Rule::InvalidMount, span, message);
    let Some(word) = &option.value else {
        match key {
            "readonly" | "ro" => options.read_only = Some(true),
            "readwrite" | "rw" => options.read_only = Some(false),
            "required" => options.required = true,
            _ if KEYS.contains(&key) => return Err(fail(format!("`{key}` takes a value"))),
            _ => return Err(unknown_key(key, option)),
        }
        return Ok(());
    };
    if key == "from" {
        return Ok(());
    }
    let value = expand(word, &scope.state.environment)?;
    let flag = || parse_bool(&value).ok_or_else(|| fail(format!("`{value}` is not true or false")));
    let number = || value.parse::<u32>().map_err(|_| fail(format!("`{value}` is not a number")));
    match key {
        "type" => {
            options.kind = parse_kind(&value).ok_or_else(|| {
                fail(format!("there is no mount type `{value}`")).suggest(&value, &KINDS)
            })?
        }
        "source" | "src" => options.source = value,
        "target" | "dst" | "destination" => options.target = value,
        "id" => options.id = value,
        "env" => options.env = Some(value),
        "readonly" | "ro" => options.read_only = Some(flag()?),
        "readwrite" | "rw" => options.read_only = Some(!flag()?),
        "required" if matches!(options.kind, Kind::Secret | Kind::Ssh) => {
            options.required = flag()?
        }
        "size" if options.kind == Kind::Tmpfs => {
            options.size_bytes =
                Some(parse_size(&value).ok_or_else(|| fail(format!("`{value}` is not a size")))?);
        }
        "required" | "size" => {
            let kind = options.kind.name();
            return Err(fail(format!("a mount of type `{kind}` has no `{key}`")));
        }
        "sharing" => {
            options.sharing = Some(parse_sharing(&value).ok_or_else(|| {
                fail(format!("there is no sharing `{value}`"))
                    .suggest(&value, &["shared", "private", "locked"])
            })?)
        }
        "mode" => {
            let mode = u32::from_str_radix(&value, 8);
            options.file.mode = Some(mode.map_err(|_| fail(format!("`{value}` is not a mode")))?);
        }
        "uid" => options.file.uid = Some(number()?),
        "gid" => options.file.gid = Some(number()?),
        _ => return Err(unknown_key(key, option)),
    }
    Ok(())
}

fn unknown_key(key: &str, option: &MountOption) -> Diagnostic {
    let message = format!("a mount has no option `{key}`");
    Diagnostic::error(Rule::InvalidMount, option.key.span, message).suggest(key, &KEYS)
}

/// What the options must be to each other.
fn check(options: &MountOptions) -> Result<(), String> {
    let kind = options.kind.name();
    if options.file.is_given() && matches!(options.kind, Kind::Bind | Kind::Tmpfs) {
        return Err(format!("a mount of type `{kind}` has no `mode`, `uid` or `gid`"));
    }
    if options.sharing.is_some() && options.kind != Kind::Cache {
        return Err(format!("a mount of type `{kind}` has no `sharing`"));
    }
    if options.kind == Kind::Secret {
        if options.source.is_empty() && options.target.is_empty() && options.id.is_empty() {
            return Err("a secret needs an `id` or a `target`".to_owned());
        }
        if !options.source.is_empty() && !options.id.is_empty() {
            return Err("a secret has either a `source` or an `id`".to_owned());
        }
    }
    Ok(())
}

fn parse_kind(text: &str) -> Option<Kind> {
    let kinds = [Kind::Bind, Kind::Cache, Kind::Tmpfs, Kind::Secret, Kind::Ssh];
    kinds.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text))
}

fn parse_sharing(text: &str) -> Option<CacheSharing> {
    match text.to_ascii_lowercase().as_str() {
        "shared" => Some(CacheSharing::Shared),
        "private" => Some(CacheSharing::Private),
        "locked" => Some(CacheSharing::Locked),
        _ => None,
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a size in bytes: `100`, `64k`, `1.5g`, `2GiB`; units are powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = 1_u64 << shift;
    let whole: u64 = whole.parse().ok()?;
    let fraction = &fraction[..fraction.len().min(3)];
    let part = match fraction {
        "" => 0,
        digits => unit / 1000 * digits.parse::<u64>().ok()? * 10_u64.pow(3 - digits.len() as u32),
    };
    whole.checked_mul(unit)?.checked_add(part)
}
