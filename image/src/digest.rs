//! SHA-256 digests: the identity of blobs in OCI documents.
//!
//! Never converts to or from `kiln_ir::Digest`. Other algorithms of the OCI specification (sha512) are
//! refused: no registry in use hands them out, and one algorithm keeps the store's layout flat.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ImageError;

const PREFIX: &str = "sha256:";

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OciDigest([u8; 32]);

impl OciDigest {
    /// Hashes one run of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps the 32 bytes of a digest computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's 64 hexadecimal digits, as they name a file under `blobs/sha256/`.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OciDigest({})", &self.hex()[..12])
    }
}

impl FromStr for OciDigest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let fail = |reason| ImageError::Digest { digest: text.to_owned(), reason };
        let digits =
            text.strip_prefix(PREFIX).ok_or_else(|| fail("it does not start with `sha256:`"))?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("its digits are not lower-case"));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|_| fail("64 hexadecimal digits do not follow `sha256:`"))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for OciDigest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<OciDigest> for String {
    fn from(digest: OciDigest) -> Self {
        digest.to_string()
    }
}

/// Hashes and counts what is written through it to another writer.
#[derive(Debug)]
pub struct DigestWriter<W> {
    inner: W,
    hasher: Sha256,
    size_bytes: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Starts a digest over what will be written to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size_bytes: 0 }
    }

    /// How many bytes were written so far.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest and the number of bytes written, and the writer itself.
    pub fn finish(self) -> (OciDigest, u64, W) {
        (OciDigest(self.hasher.finalize().into()), self.size_bytes, self.inner)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let empty = OciDigest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), text);
        assert_eq!(text.parse::<OciDigest>().unwrap(), empty);
        assert_eq!(serde_json::to_string(&empty).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let long = format!("sha256:{}", "0".repeat(66));
        for text in ["", "sha256:", "sha256:00", "sha512:00", "../../etc/passwd", &upper, &long] {
            assert!(text.parse::<OciDigest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_writer_hashes_what_passes() {
        let mut writer = DigestWriter::new(Vec::new());
        writer.write_all(b"ki").unwrap();
        writer.write_all(b"ln").unwrap();
        let (digest, size, bytes) = writer.finish();
        assert_eq!((digest, size, bytes.as_slice()), (OciDigest::of(b"kiln"), 4, &b"kiln"[..]));
    }
}
