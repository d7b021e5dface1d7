//! Telling running work to stop.
//!
//! A token is the receiving end of a channel on which nothing is ever sent: it fires when the other
//! end, the [`Canceller`], is gone. So it can be polled, waited for beside other channels, copied
//! freely, and needs no lock; and work whose owner has vanished stops by itself.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

/// Tells whether work should stop. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Cancel {
    owner: Receiver<Infallible>,
}

/// The right to fire one [`Cancel`] and its clones. Dropping it fires too.
#[derive(Debug)]
#[must_use = "work stops as soon as its canceller is dropped"]
pub struct Canceller {
    _alive: Sender<Infallible>,
}

impl Cancel {
    /// A token and the right to fire it.
    pub fn new() -> (Canceller, Self) {
        let (alive, owner) = crossbeam_channel::bounded(1);
        (Canceller { _alive: alive }, Self { owner })
    }

    /// A token that never fires.
    #[must_use]
    pub fn never() -> Self {
        Self { owner: crossbeam_channel::never() }
    }

    /// Whether the work should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.owner.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits until the token fires or `timeout` has passed; answers whether it has fired.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.owner.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// A channel that is disconnected when the token fires, for use in a `select`.
    #[must_use]
    pub fn signal(&self) -> &Receiver<Infallible> {
        &self.owner
    }
}

impl Canceller {
    /// Fires the token.
    pub fn cancel(self) {
        drop(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_once_for_all_clones() {
        let (canceller, cancel) = Cancel::new();
        let copy = cancel.clone();
        assert!(!cancel.is_cancelled());
        assert!(!cancel.wait(Duration::ZERO));
        canceller.cancel();
        assert!(cancel.is_cancelled());
        assert!(copy.wait(Duration::ZERO));
        assert!(!Cancel::never().is_cancelled());
    }

    #[test]
    fn wakes_a_waiting_thread() {
        let (canceller, cancel) = Cancel::new();
        let woken = std::thread::scope(|scope| {
            let waiter = scope.spawn(move || cancel.wait(Duration::from_secs(60)));
            drop(canceller);
            waiter.join().unwrap()
        });
        assert!(woken);
    }
}
