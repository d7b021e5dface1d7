//! The host's root filesystem, which leaves the sandbox while the command's process is started.
//!
//! To take a mount off the kernel waits until no processor can still be looking at it (a grace period of RCU), some 300 µs
//! in which it does nothing else. The two processes that are concerned share their memory: one takes the mount off, and the
//! other waits for that before it does what depends on it.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::futex;

/// Where it is: one of the following, or the error's number if it cannot be taken off.
#[derive(Debug, Default)]
pub(super) struct Host(AtomicU32);

/// This process has no root of its own yet, or the host's is taken off.
const ELSEWHERE: u32 = 0;
/// On top of the new root.
const ON_TOP: u32 = u32::MAX;

impl Host {
    /// Tells that it lies on top of the new root, and that this process's working directory is there.
    pub(super) fn is_left_behind(&self) {
        self.0.store(ON_TOP, Ordering::Release);
    }

    /// Takes it off, if it is still there, and goes to the new root. Neither takes memory nor touches what threads have of
    /// their own: another process may be using both.
    pub(super) fn take_off(&self) {
        if self.0.load(Ordering::Acquire) != ON_TOP {
            return;
        }
        let done = rustix::mount::unmount(c".", UnmountFlags::DETACH)
            .and_then(|()| rustix::process::chdir(c"/"));
        let state = done.map_or_else(|error| error.raw_os_error().unsigned_abs(), |()| ELSEWHERE);
        self.settle(state);
    }

    fn settle(&self, state: u32) {
        self.0.store(state, Ordering::Release);
        // Whoever does not wait yet finds it done.
        let _woken = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
    }

    /// Waits until it is taken off.
    pub(super) fn wait(&self) -> io::Result<()> {
        loop {
            match self.0.load(Ordering::Acquire) {
                ELSEWHERE => return Ok(()),
                ON_TOP => match futex::wait(&self.0, futex::Flags::PRIVATE, ON_TOP, None) {
                    Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                },
                error => {
                    return Err(io::Error::from_raw_os_error(error.cast_signed()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_goes_on_before_it_is_off() {
        let (host, off) = (Host::default(), AtomicBool::new(false));
        host.wait().unwrap();
        host.is_left_behind();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                off.store(true, Ordering::Release);
                host.settle(ELSEWHERE);
            });
            host.wait().unwrap();
            assert!(off.load(Ordering::Acquire));
        });
    }

    #[test]
    fn nobody_goes_on_when_it_cannot_be_taken_off() {
        let host = Host::default();
        host.is_left_behind();
        host.settle(libc::EBUSY.unsigned_abs());
        assert_eq!(host.wait().unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }
}
