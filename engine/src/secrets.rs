//! Secrets, read when a step needs them and not before.

use std::path::PathBuf;
use std::{env, fs};

use kiln_executor::Hidden;

use crate::EngineError;

/// The largest secret: 500 KiB, as BuildKit has it.
const MAX_SECRET_BYTES: u64 = 500 << 10;

/// Where a secret's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

impl SecretSource {
    /// The secret's value.
    pub(crate) fn read(&self, id: &str) -> Result<Hidden, EngineError> {
        let missing = |detail: String| EngineError::Secret { id: id.to_owned(), detail };
        let value = match self {
            Self::File(path) => {
                let size = fs::metadata(path).map(|meta| meta.len());
                match size {
                    Ok(size) if size > MAX_SECRET_BYTES => {
                        return Err(missing(format!(
                            "`{}` holds {size} bytes; at most {MAX_SECRET_BYTES} are accepted",
                            path.display()
                        )));
                    }
                    _ => fs::read(path).map_err(|error| {
                        missing(format!("cannot read `{}`: {error}", path.display()))
                    })?,
                }
            }
            Self::Env(name) => env::var_os(name)
                .ok_or_else(|| missing(format!("the variable `{name}` is not set")))?
                .into_encoded_bytes(),
        };
        Ok(Hidden::from(value))
    }
}
