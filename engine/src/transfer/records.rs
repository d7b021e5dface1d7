//! Records of the store and of other machines, as one.

use kiln_cache::{ActionLock, CacheError, CacheKey, DiskStore, Record, RecordStore};

use super::Transfer;
use crate::EngineError;

/// What the solver looks up in a build with imports or exports.
pub(crate) struct SharedRecords<'t, 'e> {
    pub(crate) disk: &'t DiskStore,
    pub(crate) transfer: &'t Transfer<'e>,
}

impl RecordStore for SharedRecords<'_, '_> {
    /// The store's own record, unless its layers are gone and another machine's are not.
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let own = self.disk.get(key)?;
        let (record, is_foreign) = match own {
            Some(record) if self.transfer.has_layers(&record)? => (Some(record), false),
            other => match self.transfer.imported(key) {
                Some(record) => (Some(record), true),
                None => (other, false),
            },
        };
        if let Some(record) = &record {
            let mut used = self.transfer.used();
            used.records.insert(*key, record.clone());
            if is_foreign {
                used.foreign.insert(*key);
            }
        }
        Ok(record)
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        let mut used = self.transfer.used();
        used.records.insert(*key, record.clone());
        used.foreign.remove(key);
        drop(used);
        self.disk.put(key, record)
    }

    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError> {
        self.disk.lock(key, cancelled)
    }
}

impl Transfer<'_> {
    /// Whether all layers of a record are in the store.
    fn has_layers(&self, record: &Record) -> Result<bool, CacheError> {
        for layer in &record.layers {
            if !self.engine.layers.contains(&layer.digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn imported(&self, key: &CacheKey) -> Option<Record> {
        let (import, record) = self.known.get(key)?;
        let document = self.imports.get(*import)?;
        Some(document.record(&document.records.get(*record)?.1))
    }

    /// Keeps what was taken from other machines and has become whole here, so that the next build finds it
    /// without them.
    pub(crate) fn keep(&self, disk: &DiskStore) -> Result<(), EngineError> {
        let used = self.used();
        let mut whole = Vec::new();
        for key in &used.foreign {
            if let Some(record) = used.records.get(key)
                && self.has_layers(record)?
            {
                whole.push((key, record));
            }
        }
        if !whole.is_empty() {
            disk.put_all(whole.into_iter())?;
        }
        Ok(())
    }
}
