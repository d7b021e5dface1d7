//! Keeping the store small: what it holds, and taking away what is worth least.
//!
//! The limits of `kiln.toml` are turned into bytes of the store's filesystem here. What may go, and how
//! that is safe beside builds, is the business of [`kiln_cache::gc`].

use std::path::Path;

use kiln_cache::check::{Checked, Repair, check};
use kiln_cache::gc::{Collected, Limits, Sum, Usage, Wanted};
use kiln_cache::{BuildLimits, Store};

use crate::history::check_builds;
use crate::settings::{Amount, GcSettings};
use crate::{Engine, EngineError};

impl Engine {
    /// What the store holds, and what it takes on the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self) -> Result<Usage, EngineError> {
        Ok(self.store.usage()?)
    }

    /// What the records of builds take on the disk; what is over the history's own limits can be reclaimed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history_usage(&self) -> Result<Sum, EngineError> {
        Ok(self.store.builds_sum(&self.build_limits()?)?)
    }

    /// Takes away what is worth least; builds beside it lose nothing that they use. Of the history only what
    /// is over its own limits goes.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn prune(&self, wanted: &Wanted) -> Result<Collected, EngineError> {
        self.store.trim_builds(&self.build_limits()?)?;
        Ok(self.store.collect(wanted)?)
    }

    /// What [`Self::prune`] would take away.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn would_prune(&self, wanted: &Wanted) -> Result<Collected, EngineError> {
        Ok(self.store.would_collect(wanted)?)
    }

    /// Looks whether the store at `root` is whole; drops what is not, and makes a damaged database anew, if that is
    /// wanted.
    ///
    /// # Errors
    /// When the store cannot be read, or not be repaired.
    pub fn check_store(root: &Path, repair: Repair) -> Result<Checked, EngineError> {
        let (store, mut checked) = check(root, repair)?;
        if let Some(store) = store {
            check_builds(&store, repair, &mut checked)?;
            store.close()?;
        }
        Ok(checked)
    }

    /// Takes a name from an image, or all names from one that is meant by its digest or id; answers
    /// those names. What nothing reaches any more goes with the next collection.
    ///
    /// # Errors
    /// When there is no such image, or the store cannot be written.
    pub fn remove_image(&self, reference: &str) -> Result<Vec<String>, EngineError> {
        let (name, row) = self.find_row(reference)?;
        let is_name = reference.parse::<crate::ImageRef>().is_ok_and(|r| r.to_string() == name);
        let names = if is_name {
            vec![name]
        } else {
            let rows = self.store.images()?.into_iter();
            rows.filter(|(_, other)| other.manifest == row.manifest).map(|(name, _)| name).collect()
        };
        for name in &names {
            self.store.remove_image(name)?;
        }
        Ok(names)
    }

    /// The limits that the configuration sets, in bytes of the store's filesystem; nothing when it turns
    /// collecting off.
    ///
    /// # Errors
    /// When the filesystem cannot be looked at.
    pub fn limits(&self) -> Result<Option<Limits>, EngineError> {
        let GcSettings { enabled, max, reserved, min_free } = self.settings.gc;
        if !enabled {
            return Ok(None);
        }
        Ok(Some(Limits {
            max_used_bytes: Some(self.bytes(max)?),
            reserved_bytes: Some(self.bytes(reserved)?),
            min_free_bytes: Some(self.bytes(min_free)?),
        }))
    }

    /// An amount in bytes of the store's filesystem.
    ///
    /// # Errors
    /// When the filesystem cannot be looked at.
    pub fn bytes(&self, amount: Amount) -> Result<u64, EngineError> {
        match amount {
            Amount::Bytes(bytes) => Ok(bytes),
            Amount::Percent(percent) => {
                let path = self.root();
                let found = rustix::fs::statvfs(path).map_err(|error| EngineError::ReadFile {
                    what: "filesystem of the store",
                    path: path.to_owned(),
                    source: error.into(),
                })?;
                let whole = found.f_blocks.saturating_mul(found.f_frsize);
                Ok(whole / 100 * u64::from(percent))
            }
        }
    }

    /// Makes all that the store at `root` holds survive a crash of the machine, then collects what is
    /// over the limits, of builds' records and of all else. Waits for the disk; does nothing where there is
    /// no store, and refuses one with a damaged database: whoever makes it anew has to tell somebody.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settle(
        root: &Path,
        builds: Option<BuildLimits>,
        limits: Option<Limits>,
    ) -> Result<(), EngineError> {
        // A store that was deleted meanwhile is not to come back.
        if !root.join("kiln.db").is_file() {
            return Ok(());
        }
        let store = Store::open(root)?;
        store.mark_durable()?;
        if let Some(builds) = builds {
            store.trim_builds(&builds)?;
        }
        if let Some(limits) = limits {
            store.collect_alone(&Wanted { all: true, limits, ..Wanted::default() })?;
        }
        Ok(store.close()?)
    }
}
