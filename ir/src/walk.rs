//! One walk over all that an op is made of, for two readers.
//!
//! [`Op::walk`](crate::Op::walk) names each field of an op that is part of its identity, in one fixed order. A
//! [`ContentHasher`] makes a digest of the values; whoever explains what changed between two ops keeps them
//! under their labels. What one of them sees, the other sees too: a key cannot move without a field to name.

use crate::{ContentHasher, GuestPath, OwnerSpec};

/// What a field is called, for people. No part of any identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The sort of thing: `variable`, `mount`.
    pub what: &'static str,
    /// Which one of several, such as a variable's name; empty where there is one alone.
    pub name: &'a str,
    /// What of it, such as `mode`; empty for the whole.
    pub aspect: &'static str,
}

impl<'a> Label<'a> {
    /// The only one of its sort.
    #[must_use]
    pub const fn of(what: &'static str) -> Self {
        Self { what, name: "", aspect: "" }
    }

    /// One of several.
    #[must_use]
    pub const fn named(what: &'static str, name: &'a str) -> Self {
        Self { what, name, aspect: "" }
    }

    /// A part of the thing.
    #[must_use]
    pub const fn aspect(self, aspect: &'static str) -> Self {
        Self { aspect, ..self }
    }
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A text that may be missing.
    Perhaps(Option<&'a str>),
    /// A text with the name that the label has, too.
    Named(&'a str, &'a str),
    /// Several texts in order.
    List(&'a [String]),
    /// Bytes that need be no text.
    Bytes(&'a [u8]),
    /// A number.
    Number(u64),
    /// A number that may be missing.
    PerhapsNumber(Option<u64>),
    /// Permission bits, which people read in octal.
    Mode(u32),
    /// Yes or no.
    Flag(bool),
    /// One of a closed list: its number, and the word for it.
    Choice(u64, &'static str),
}

/// Who reads the fields of an op.
pub trait Walk {
    /// A number that keeps neighbouring fields apart: how many there are, or of which kind. It says nothing
    /// that the fields around it do not.
    fn frame(&mut self, number: u64);

    /// A field of the identity.
    fn field(&mut self, label: Label<'_>, value: Value<'_>);
}

/// Only the values are hashed: a label can be put better without moving a key.
impl Walk for ContentHasher {
    fn frame(&mut self, number: u64) {
        self.u64(number);
    }

    fn field(&mut self, _: Label<'_>, value: Value<'_>) {
        match value {
            Value::Text(text) => self.value(text),
            Value::Perhaps(text) => self.value(&text),
            Value::Named(name, text) => {
                self.value(name);
                self.value(text);
            }
            Value::List(texts) => self.value(texts),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::Number(number) | Value::Choice(number, _) => self.u64(number),
            Value::PerhapsNumber(number) => self.value(&number),
            Value::Mode(bits) => self.u64(u64::from(bits)),
            Value::Flag(flag) => self.value(&flag),
        }
    }
}

impl<'a> From<&'a GuestPath> for Value<'a> {
    fn from(path: &'a GuestPath) -> Self {
        Self::Text(path.as_str())
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Perhaps(text.as_deref())
    }
}

impl<'a> From<&'a Option<OwnerSpec>> for Value<'a> {
    fn from(owner: &'a Option<OwnerSpec>) -> Self {
        Self::Perhaps(owner.as_ref().map(|owner| owner.0.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn of(label: Label<'_>, value: Value<'_>) -> Digest {
        let mut hasher = ContentHasher::new("t");
        hasher.field(label, value);
        hasher.finish()
    }

    #[test]
    fn labels_are_for_people_and_values_for_all() {
        let text = Value::Text("x");
        assert_eq!(of(Label::of("user"), text), of(Label::named("variable", "A"), text));
        assert_ne!(of(Label::of("user"), text), of(Label::of("user"), Value::Text("y")));
        assert_ne!(
            of(Label::of("user"), Value::Perhaps(None)),
            of(Label::of("user"), Value::Perhaps(Some("")))
        );
    }
}
