//! Values of fields as they are kept, and digests as texts.

use kiln_ir::{Digest, Value};
use serde::{Deserialize, Serialize};

/// The longest text that is kept whole, in bytes.
const WHOLE_BYTES: usize = 32 << 10;
/// As much of a longer one is kept.
const HEAD_BYTES: usize = 4 << 10;

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// There is none.
    Nothing,
    /// A text, a number or a word, whole.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// The beginning of what is too long, or all that can be read of what is no text.
    Long {
        /// The first few thousand bytes, or nothing.
        head: String,
        /// The length of all of it.
        size_bytes: u64,
        /// The digest of all of it.
        #[serde(with = "text")]
        digest: Digest,
    },
    /// A value that may be a credential: its digest, under a key of the store's own.
    Sealed(#[serde(with = "text")] Digest),
}

impl Shown {
    /// The value as it is kept.
    pub(super) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Perhaps(None) | Value::PerhapsNumber(None) => Self::Nothing,
            Value::Text(text) | Value::Perhaps(Some(text)) | Value::Named(_, text) => {
                Self::bytes(text.as_bytes())
            }
            Value::List(texts) if texts.iter().map(String::len).sum::<usize>() <= WHOLE_BYTES => {
                Self::List(texts.to_vec())
            }
            Value::List(texts) => Self::bytes(texts.join("\n").as_bytes()),
            Value::Bytes(bytes) => Self::bytes(bytes),
            Value::Number(number) | Value::PerhapsNumber(Some(number)) => {
                Self::Text(number.to_string())
            }
            Value::Mode(bits) => Self::Text(format!("{bits:04o}")),
            Value::Flag(flag) => Self::Text(if flag { "yes" } else { "no" }.to_owned()),
            Value::Choice(_, word) => Self::Text(word.to_owned()),
        }
    }

    fn bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= WHOLE_BYTES => Self::Text(text.to_owned()),
            text => {
                let head = text.map_or("", |text| &text[..text.floor_char_boundary(HEAD_BYTES)]);
                let size_bytes = bytes.len() as u64;
                Self::Long { head: head.to_owned(), size_bytes, digest: Digest::of(bytes) }
            }
        }
    }
}

/// Digests and keys as texts.
pub(super) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in super::super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Digests and keys that may be missing, as texts.
pub(super) mod perhaps {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in super::super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}
