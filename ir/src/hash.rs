//! Framed hashing of values.
//!
//! Every field is written with its length or a tag, so that no two different values give the same
//! bytes. What a type leaves out of [`ContentHash`] is, by that, no part of any cache key.

use crate::Digest;

/// Feeds values to BLAKE3 with framing.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Starts a hash for one use; `domain` keeps different uses apart.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.bytes(domain.as_bytes());
        hasher
    }

    /// Adds bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds an integer.
    pub fn u64(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }

    /// Adds any hashable value.
    pub fn value<T: ContentHash + ?Sized>(&mut self, value: &T) {
        value.content_hash(self);
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// A value whose identity is the content it holds.
pub trait ContentHash {
    /// Adds everything that makes this value what it is.
    fn content_hash(&self, hasher: &mut ContentHasher);

    /// The value's digest under `domain`.
    fn digest(&self, domain: &str) -> Digest {
        let mut hasher = ContentHasher::new(domain);
        self.content_hash(&mut hasher);
        hasher.finish()
    }
}

impl ContentHash for str {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.bytes(self.as_bytes());
    }
}

impl ContentHash for String {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.bytes(self.as_bytes());
    }
}

impl ContentHash for Digest {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.0.update(self.as_bytes());
    }
}

impl ContentHash for bool {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.u64(u64::from(*self));
    }
}

macro_rules! hash_integers {
    ($($integer:ty),*) => {$(
        impl ContentHash for $integer {
            fn content_hash(&self, hasher: &mut ContentHasher) {
                hasher.u64(u64::from(*self));
            }
        }
    )*};
}
hash_integers!(u8, u16, u32, u64);

impl<T: ContentHash> ContentHash for Option<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.u64(u64::from(self.is_some()));
        if let Some(value) = self {
            hasher.value(value);
        }
    }
}

impl<T: ContentHash> ContentHash for [T] {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.u64(self.len() as u64);
        for value in self {
            hasher.value(value);
        }
    }
}

impl<T: ContentHash> ContentHash for Vec<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.value(self.as_slice());
    }
}

impl<A: ContentHash, B: ContentHash> ContentHash for (A, B) {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.value(&self.0);
        hasher.value(&self.1);
    }
}

impl<T: ContentHash + ?Sized> ContentHash for &T {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        (**self).content_hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_keeps_neighbours_apart() {
        let left = vec!["ab".to_owned(), "c".to_owned()].digest("t");
        let right = vec!["a".to_owned(), "bc".to_owned()].digest("t");
        assert_ne!(left, right);
        assert_ne!(None::<u32>.digest("t"), Some(0_u32).digest("t"));
        assert_ne!("x".digest("one"), "x".digest("two"));
    }
}
