//! Framed hashing of values.
//!
//! Every field is written with its length or a tag, so that no two different values give the same
//! bytes. What a type leaves out of [`ContentHash`] is, by that, no part of any cache key.

use crate::Digest;

/// As many bytes are gathered before they are hashed.
const GATHERED_BYTES: usize = 16 << 10;

/// Feeds values to BLAKE3 with framing. Values are small and many, and BLAKE3 is quick with large pieces: they are
/// gathered, and most hashes are of one piece.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    /// What is behind that which was hashed already.
    gathered: Vec<u8>,
    hashed: Option<Box<blake3::Hasher>>,
}

impl ContentHasher {
    /// Starts a hash for one use; `domain` keeps different uses apart.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { gathered: Vec::with_capacity(512), hashed: None };
        hasher.bytes(domain.as_bytes());
        hasher
    }

    /// Adds bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.add(bytes);
    }

    /// Adds an integer.
    pub fn u64(&mut self, value: u64) {
        self.add(&value.to_le_bytes());
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES {
            let hashed = self.hashed.get_or_insert_default();
            hashed.update(&self.gathered).update(bytes);
            self.gathered.clear();
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    /// Adds any hashable value.
    pub fn value<T: ContentHash + ?Sized>(&mut self, value: &T) {
        value.content_hash(self);
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(&self) -> Digest {
        match &self.hashed {
            None => Digest::of(&self.gathered),
            Some(hashed) => {
                let hash = hashed.clone().update(&self.gathered).finalize();
                Digest::from_bytes(*hash.as_bytes())
            }
        }
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
        hasher.add(self.as_bytes());
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
    fn pieces_of_any_size_give_one_hash() {
        let text: Vec<u8> = (0..5 * GATHERED_BYTES).map(|at| (at % 251) as u8).collect();
        for size in [1, 7, 1000, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, text.len()]
        {
            let mut hasher = ContentHasher::default();
            let mut so_far = 0;
            for piece in text.chunks(size) {
                hasher.add(piece);
                so_far += piece.len();
                if so_far % (3 * size) == 0 {
                    assert_eq!(hasher.finish(), Digest::of(&text[..so_far]), "{size}");
                }
            }
            assert_eq!(hasher.finish(), Digest::of(&text), "{size}");
        }
    }

    #[test]
    fn framing_keeps_neighbours_apart() {
        let left = vec!["ab".to_owned(), "c".to_owned()].digest("t");
        let right = vec!["a".to_owned(), "bc".to_owned()].digest("t");
        assert_ne!(left, right);
        assert_ne!(None::<u32>.digest("t"), Some(0_u32).digest("t"));
        assert_ne!("x".digest("one"), "x".digest("two"));
    }
}
