//! What an action was made of, in words: kept beside its record, so that a later miss can be explained.
//!
//! An [`Account`] holds the fields that the key's walk names ([`kiln_ir::Op::walk`]) and, for each thing read,
//! its digest and where it came from. It is written when an action has run, never for a hit, and is never looked
//! at to decide anything: a wrong account misleads a reader and no build. Values of variables that look like
//! credentials are not kept, only a digest under a key of the store's own. Absent: secrets, clocks, the store.
//!
//! As JSON, an account is an object with `v` (the format's version, [`FORMAT`]) and the fields below. What a
//! later version wrote, or what is damaged or too long, is read as if it were not there.

mod compare;
mod listing;
mod value;

use kiln_ir::{Digest, Label, Op, Value, Vertex, Walk};
use serde::{Deserialize, Serialize};

pub use compare::{Difference, TakenPair, nearest};
pub use listing::{Change, Changed, Listing, changes};
pub use value::Shown;

use crate::CacheKey;
use crate::key::Read;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;
/// The longest account that is written or read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// What an action was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    v: u32,
    /// The kind of op: `source`, `exec`, `file` or `diff`.
    pub kind: String,
    /// What people call the step: `[build 2/5] RUN make`.
    pub name: String,
    /// The digest of the op's identity: of all fields together.
    #[serde(with = "value::text")]
    pub definition: Digest,
    /// The fields of the op's identity, in the order of the walk.
    pub fields: Vec<Field>,
    /// What was read, in the order in which the key takes it.
    pub reads: Vec<Taken>,
}

/// A field of an op's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Field {
    /// See [`Label::what`].
    pub what: String,
    /// See [`Label::name`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// See [`Label::aspect`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub aspect: String,
    /// Its value.
    pub value: Shown,
}

/// Something that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// In which way.
    pub how: How,
    /// Which one of several: a source, a mount's target, a secret's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The index of the input it was read of; nothing for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// The digest of exactly what was read.
    #[serde(with = "value::text")]
    pub digest: Digest,
    /// The step or source whose result it was read from; nothing for a local context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Giver>,
}

/// A step that gave what another one read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Giver {
    /// What people call it.
    pub name: String,
    /// Its key; nothing for what is not recorded, such as a merge.
    #[serde(default, with = "value::perhaps", skip_serializing_if = "Option::is_none")]
    pub key: Option<CacheKey>,
    /// The topmost layer that it gave.
    #[serde(default, with = "value::perhaps", skip_serializing_if = "Option::is_none")]
    pub top: Option<Digest>,
}

/// The ways of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A whole filesystem.
    Root,
    /// What a bind mount shows.
    Bind,
    /// What a COPY or ADD selects.
    Copy,
    /// A secret's value.
    Secret,
}

/// What is known of names, and is not to be written down as it is.
#[derive(Clone, Copy)]
pub struct Discretion<'a> {
    /// Whether a variable of this name may hold a credential.
    pub is_secret: &'a dyn Fn(&str) -> bool,
    /// The digest of such a value, under a key that never leaves the store.
    pub seal: &'a dyn Fn(&str) -> Digest,
    /// Whether a variable of this name is a build argument.
    pub is_argument: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Discretion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discretion").finish_non_exhaustive()
    }
}

impl Account {
    /// The account of a vertex whose op read `reads`.
    #[must_use]
    pub fn of(vertex: &Vertex, reads: Vec<Taken>, discretion: Discretion<'_>) -> Self {
        let mut fields = Fields { fields: Vec::new(), discretion };
        vertex.op.walk(&mut fields);
        Self {
            v: FORMAT,
            kind: kind(&vertex.op).to_owned(),
            name: vertex.meta.name.clone(),
            definition: vertex.op.definition(),
            fields: fields.fields,
            reads,
        }
    }

    /// The account as JSON; nothing when it is too long to be kept.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|text| text.len() <= MAX_BYTES)
    }

    /// Reads what [`Self::encode`] wrote; nothing when it is of another version, damaged or too long.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        serde_json::from_str(text).ok().filter(|account: &Self| account.v == FORMAT)
    }
}

impl Taken {
    /// How and what `read` read; `digest` is that of exactly what was read.
    #[must_use]
    pub fn of(read: &Read<'_>, digest: Digest, from: Option<Giver>) -> Self {
        let (how, name) = match read {
            Read::Whole { .. } => (How::Root, ""),
            Read::Bind { target, .. } => (How::Bind, target.as_str()),
            Read::Copy(copy) => (How::Copy, copy.source.as_str()),
            Read::Secret { id } => (How::Secret, *id),
        };
        Self { how, name: name.to_owned(), input: read.input(), digest, from }
    }
}

/// The kind of an op, in one word.
#[must_use]
pub const fn kind(op: &Op) -> &'static str {
    match op {
        Op::Source(_) => "source",
        Op::Exec(_) => "exec",
        Op::File(_) => "file",
        Op::Merge => "merge",
        Op::Diff => "diff",
    }
}

/// The back-end of the walk that keeps what it sees.
struct Fields<'a> {
    fields: Vec<Field>,
    discretion: Discretion<'a>,
}

impl Walk for Fields<'_> {
    fn frame(&mut self, _: u64) {}

    fn field(&mut self, label: Label<'_>, value: Value<'_>) {
        let Label { what, name, aspect } = label;
        let is_argument = what == "variable" && (self.discretion.is_argument)(name);
        let what = if is_argument { "build argument" } else { what };
        let value = if let Value::Named(name, text) = value
            && (self.discretion.is_secret)(name)
        {
            Shown::Sealed((self.discretion.seal)(text))
        } else {
            Shown::of(value)
        };
        let (what, name, aspect) = (what.to_owned(), name.to_owned(), aspect.to_owned());
        self.fields.push(Field { what, name, aspect, value });
    }
}

#[cfg(test)]
mod tests;
