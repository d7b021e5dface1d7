//! Work that several threads may want done, and one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A lock for each piece of work. Whoever waited for one looks again whether the work is done.
#[derive(Debug)]
pub(crate) struct Turns<K>(Mutex<BTreeMap<K, Arc<Mutex<()>>>>);

impl<K: Ord> Turns<K> {
    /// Does something while no other thread does anything for the same key.
    ///
    /// A thread that comes back for a key that it holds waits for itself: no work under it may lead to tasks of
    /// the pool of threads that want the same key.
    pub(crate) fn take<T>(&self, key: K, act: impl FnOnce() -> T) -> T {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(turns.entry(key).or_default());
        drop(turns);
        let _alone = turn.lock().unwrap_or_else(PoisonError::into_inner);
        act()
    }
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
