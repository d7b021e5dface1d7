//! Values of several fields: `key=value,key=value`, quoted as one record of CSV.
//!
//! As in buildx, a field that holds a comma or a quote stands in quotes whole, with quotes inside
//! doubled: `"dest=a,b"`.

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// There is nothing.
    #[error("the {what} is empty")]
    Empty {
        /// What should be there.
        what: &'static str,
    },
    /// A quote is in the wrong place.
    #[error("a quote in `{field}` is out of place; write \"key=value\" with inner quotes doubled")]
    Quote {
        /// The field, as far as it was read.
        field: String,
    },
    /// A field without `=`.
    #[error("the field `{field}` is not of the form key=value")]
    NoValue {
        /// The field.
        field: String,
    },
    /// A field whose key means nothing.
    #[error("unknown {what} `{name}`{}", hint(.name, .known))]
    Unknown {
        /// What kind of name it is.
        what: &'static str,
        /// The name.
        name: String,
        /// What it could have been.
        known: &'static [&'static str],
    },
    /// A field that there must be.
    #[error("the field `{key}` is missing{}", .why)]
    Missing {
        /// The field's key.
        key: &'static str,
        /// More on it, or nothing.
        why: &'static str,
    },
    /// A field that is given twice.
    #[error("the field `{key}` is given twice")]
    Twice {
        /// The field's key.
        key: String,
    },
    /// Fields that exclude each other.
    #[error("the fields `{one}` and `{other}` exclude each other")]
    Conflict {
        /// A field's key.
        one: &'static str,
        /// Another one's.
        other: &'static str,
    },
    /// A field that means nothing here.
    #[error("the field `{key}` goes with {owner} alone")]
    Elsewhere {
        /// The field's key.
        key: &'static str,
        /// What it goes with.
        owner: &'static str,
    },
    /// A value that is neither true nor false.
    #[error("`{value}` is not true or false")]
    NotBool {
        /// The value.
        value: String,
    },
    /// A text without the `=` that it needs.
    #[error("`{text}` is not of the form {form}")]
    Form {
        /// The text.
        text: String,
        /// The form it should have.
        form: &'static str,
    },
    /// Something sensible that Kiln does not do.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// A cache that a provider's own service keeps.
    #[error(
        "the cache type `{kind}` is a provider's own service, which Kiln does not use; \
         give type=registry or type=local"
    )]
    Service {
        /// The type.
        kind: String,
    },
    /// Both the Dockerfile and the context are read from standard input.
    #[error("the Dockerfile and the context cannot both come from standard input")]
    TwiceStdin,
    /// Two outputs go to standard output.
    #[error("only one --output can go to standard output; give the others a dest")]
    TwiceStdout,
}

fn hint(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The candidate most like `name`, if one is near enough to be meant.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Fields by key, in the order given. Keys are in lower case.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of one key, whatever else there is.
    pub(super) fn peek(text: &str, key: &str) -> Result<Option<String>, ValueError> {
        let fields = split(text)?;
        let mut pairs = fields.iter().filter_map(|field| field.split_once('='));
        let found = pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(key));
        Ok(found.map(|(_, value)| value.to_owned()))
    }

    /// Splits `text`, and refuses keys that are not in `known` or come twice.
    pub(super) fn parse(text: &str, known: &'static [&'static str]) -> Result<Self, ValueError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in split(text)? {
            let Some((key, value)) = field.split_once('=') else {
                return Err(ValueError::NoValue { field });
            };
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(ValueError::Unknown { what: "field", name: key, known });
            }
            if fields.iter().any(|(other, _)| *other == key) {
                return Err(ValueError::Twice { key });
            }
            fields.push((key, value.to_owned()));
        }
        Ok(Self(fields))
    }

    /// The value of `key`, which is gone from then on.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(position).1)
    }

    /// The key of a field that was not taken.
    pub(super) fn left(&self) -> Option<&str> {
        self.0.first().map(|(key, _)| key.as_str())
    }
}

/// The fields of one CSV record.
fn split(text: &str) -> Result<Vec<String>, ValueError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err(ValueError::Quote { field: field.to_owned() });
                }
                (field.to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(ValueError::Quote { field: after.to_owned() }),
        }
    }
}

/// A field up to its closing quote, and what comes after that.
fn unquote(text: &str) -> Result<(String, &str), ValueError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(end) = rest.find('"') else {
            return Err(ValueError::Quote { field: text.to_owned() });
        };
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

/// `true`, `false` and their short forms.
pub(super) fn parse_bool(value: &str) -> Result<bool, ValueError> {
    match value.to_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(ValueError::NotBool { value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["type", "dest", "tar"];

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        Fields::parse(text, KNOWN).map(|fields| fields.0).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_csv() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse("type=oci,dest=a b"), Ok(vec![pair("type", "oci"), pair("dest", "a b")]));
        assert_eq!(parse("TYPE=oci"), Ok(vec![pair("type", "oci")]));
        assert_eq!(
            parse(r#"type=oci,"dest=a,""b""=c""#),
            Ok(vec![pair("type", "oci"), pair("dest", r#"a,"b"=c"#)])
        );
        assert_eq!(parse("dest="), Ok(vec![pair("dest", "")]));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("", "the field `` is not of the form key=value"),
            ("type=oci,", "the field `` is not of the form key=value"),
            ("typ=oci", "unknown field `typ`; did you mean `type`?"),
            ("colour=red", "unknown field `colour`; known are type, dest, tar"),
            ("tar=1,tar=1", "the field `tar` is given twice"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
        for text in [r#"dest="a""#, r#""dest=a"#, r#""dest=a"b"#] {
            assert!(matches!(Fields::parse(text, KNOWN), Err(ValueError::Quote { .. })), "{text}");
        }
    }
}
