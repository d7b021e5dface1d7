//! Claims: what this process uses, written down where a collection reads it.
//!
//! A build names what it is about to use *before* it looks whether that is there. Both happen under a
//! shared `flock` on `locks/gc`, which is held for some microseconds; a collection decides and moves
//! things away under an exclusive one ([`gc`](super::gc)). So whatever a process has claimed and found
//! stays until the process lets go of the store, and no build waits longer than one batch of renames.
//!
//! The file `uses` in the process's staging directory holds the claims: 32 bytes each, a layer's BLAKE3
//! or a blob's SHA-256 (that two things share a name would keep one too many, never one too few). It is
//! only appended to, and goes with the directory, however the process ended. Each thing is written once;
//! a further look costs no lock.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_ir::Digest;

use super::blobs::digits;
use crate::CacheError;

/// What is claimed, by its digest.
pub(crate) type Thing = [u8; 32];
/// The file in a process's staging directory.
pub(super) const USES: &str = "uses";

/// One process's claims.
#[derive(Debug)]
pub(crate) struct Claims {
    gate: PathBuf,
    uses: PathBuf,
    /// Threads take the gate in turn: they share one open file, and so one lock.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gate: File,
    uses: File,
    claimed: HashSet<Thing>,
}

impl Claims {
    /// Opens the gate and starts an empty list in the process's own staging directory.
    pub(super) fn open(gate: &Path, staging: &Path) -> Result<Self, CacheError> {
        let uses = staging.join(USES);
        let open = |path: &Path, append| {
            let mut options = OpenOptions::new();
            options.create(true).append(append).write(true).truncate(false);
            options.open(path).map_err(CacheError::io("open", path))
        };
        let state =
            State { gate: open(gate, false)?, uses: open(&uses, true)?, claimed: HashSet::new() };
        Ok(Self { gate: gate.to_owned(), uses, state: Mutex::new(state) })
    }

    /// Claims a thing and looks whether it is there: if it is, it stays.
    pub(crate) fn claim<T>(
        &self,
        thing: &Thing,
        look: impl FnOnce() -> T,
    ) -> Result<T, CacheError> {
        let mut state = self.state();
        if state.claimed.contains(thing) {
            drop(state);
            return Ok(look());
        }
        let passed = self.enter(&state)?;
        let written = state.uses.write_all(thing);
        let found = look();
        self.leave(&state, passed)?;
        if written.is_ok() {
            state.claimed.insert(*thing);
            return Ok(found);
        }
        // Half a claim would put all later ones out of step.
        let whole = state.uses.set_len(32 * state.claimed.len() as u64);
        written.and(whole).map_err(CacheError::io("write", &self.uses))?;
        Ok(found)
    }

    /// Does something of a few microseconds while no collection moves anything.
    pub(super) fn undisturbed<T>(&self, run: impl FnOnce() -> T) -> Result<T, CacheError> {
        let state = self.state();
        let passed = self.enter(&state)?;
        let value = run();
        self.leave(&state, passed)?;
        Ok(value)
    }

    fn enter(&self, state: &State) -> Result<Passed, CacheError> {
        again(|| state.gate.lock_shared()).map_err(CacheError::io("lock", &self.gate))?;
        Ok(Passed)
    }

    fn leave(&self, state: &State, Passed: Passed) -> Result<(), CacheError> {
        again(|| state.gate.unlock()).map_err(CacheError::io("unlock", &self.gate))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a caller's look leaves the gate open or the list longer than need be.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gate was passed, and has to be left.
struct Passed;

/// The gate, closed: nobody claims anything meanwhile.
#[derive(Debug)]
pub(super) struct Closed {
    _gate: File,
}

impl Closed {
    /// Waits for those inside, which takes microseconds.
    pub(super) fn close(gate: &Path) -> Result<Self, CacheError> {
        let lock = CacheError::io("lock", gate);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(gate);
        let file = open.map_err(CacheError::io("open the lock", gate))?;
        again(|| file.lock()).map_err(lock)?;
        Ok(Self { _gate: file })
    }
}

/// Everything that any process claims. What a dead process claimed counts until its directory is swept.
pub(super) fn all(staging: &Path) -> Result<HashSet<Thing>, CacheError> {
    let list = || CacheError::io("list the directory", staging);
    let mut claimed = HashSet::new();
    for entry in std::fs::read_dir(staging).map_err(list())? {
        let path = entry.map_err(list())?.path().join(USES);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(CacheError::io("read", &path)(error)),
        };
        // A process that was killed, or had no room, may have written half of the last one.
        claimed.extend(bytes.as_chunks::<32>().0);
    }
    Ok(claimed)
}

/// A blob's digest as a thing.
pub(super) fn blob_thing(digest: &str) -> Result<Thing, CacheError> {
    let digits = digits(digest)?;
    // Sixty-four hexadecimal digits are checked to be there.
    let digest: Result<Digest, _> = digits.parse();
    digest
        .map(|digest| *digest.as_bytes())
        .map_err(|_| CacheError::BlobDigest { text: digits.to_owned() })
}

fn again(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn nobody_claims_while_the_gate_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (gate, staging) = (dir.path().join("gate"), dir.path().join("staging"));
        std::fs::create_dir_all(staging.join("a")).unwrap();
        let claims = Claims::open(&gate, &staging.join("a")).unwrap();
        let thing = [7; 32];
        let closed = Closed::close(&gate).unwrap();
        let opened = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let claim = scope.spawn(|| claims.claim(&thing, || opened.load(Ordering::SeqCst)));
            assert!(all(&staging).unwrap().is_empty());
            opened.store(true, Ordering::SeqCst);
            drop(closed);
            assert!(claim.join().unwrap().unwrap(), "it looked while the gate was closed");
        });
        assert_eq!(all(&staging).unwrap(), [thing].into());
        claims.claim(&thing, || ()).unwrap();
        let uses = staging.join("a").join(USES);
        assert_eq!(std::fs::metadata(&uses).unwrap().len(), 32, "each is written once");
        // A process that was killed while it wrote.
        std::fs::write(&uses, [&thing[..], &[1; 7][..]].concat()).unwrap();
        assert_eq!(all(&staging).unwrap(), [thing].into());
    }
}
