//! The caller's ssh agent, as one command may use it.
//!
//! A command talks to a socket of its own, which has the owner and mode that its mount asks for. What
//! arrives there is read message by message and handed on to the agent when it lists keys or signs; a command
//! cannot add, remove or lock keys. The socket goes with the command.

mod message;

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use kiln_executor::{Access, MountSource};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use crate::EngineError;

/// Connections served at the same time; a further one is closed.
const MAX_CONNECTIONS: usize = 32;

/// Owner and mode of a command's socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketMeta {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// A socket that leads to an agent while this value lives.
#[derive(Debug)]
pub(super) struct AgentRelay {
    path: PathBuf,
    stopped: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl AgentRelay {
    /// Listens in `dir` on a new socket called `name`.
    pub(super) fn start(
        agent: &Path,
        dir: &Path,
        name: &str,
        meta: SocketMeta,
    ) -> Result<Self, EngineError> {
        let path = dir.join(name);
        let failed = |source| EngineError::WriteFile { what: "socket", path: path.clone(), source };
        let listener = listen(dir, name).map_err(failed)?;
        own(&path, meta).map_err(failed)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (agent, seen) = (agent.to_owned(), Arc::clone(&stopped));
        let listening = Some(std::thread::spawn(move || serve(&listener, &agent, &seen)));
        Ok(Self { path, stopped, listening })
    }

    /// What a sandbox mounts.
    pub(super) fn source(&self) -> MountSource {
        MountSource::File { path: self.path.clone(), access: Access::ReadWrite }
    }
}

impl Drop for AgentRelay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        let woken = connect(&self.path).is_ok();
        if let (true, Some(listening)) = (woken, self.listening.take()) {
            drop(listening.join());
        }
    }
}

/// A socket's own path may be longer than an address can be: it is named by its directory's descriptor.
fn listen(dir: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = fs::File::open(dir)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = fs::File::open(dir)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

fn own(path: &Path, meta: SocketMeta) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())?;
    Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(meta.mode & 0o777), AtFlags::empty())?)
}

fn serve(listener: &UnixListener, agent: &Path, stopped: &AtomicBool) {
    let connections = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        if stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        if connections.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            connections.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (agent, connections) = (agent.to_owned(), Arc::clone(&connections));
        // Ends with the command, whose end closes the client's side.
        std::thread::spawn(move || {
            if let Err(error) = relay(client, &agent) {
                tracing::debug!(%error, "a connection to the ssh agent ended");
            }
            connections.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn relay(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    message::exchange(&mut client, &mut UnixStream::connect(agent)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::message::{FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST};
    use super::*;

    /// An agent that answers each message with the same one behind a mark.
    fn echo(listener: UnixListener) {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            while let Some(mut answer) = message::read(&mut client).unwrap() {
                answer.push(b'!');
                message::write(&mut client, &answer).unwrap();
            }
        }
    }

    fn ask(client: &mut UnixStream, request: &[u8]) -> Vec<u8> {
        message::write(client, request).unwrap();
        message::read(client).unwrap().unwrap()
    }

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than an address of a socket may be.
        let long = dir.path().join("d".repeat(120));
        fs::create_dir(&long).unwrap();
        let agent = dir.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        std::thread::spawn(|| echo(listener));
        let meta = SocketMeta {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mode: 0o640,
        };
        let relay = AgentRelay::start(&agent, &long, "ssh-0", meta).unwrap();
        let path = long.join("ssh-0");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let mut client = connect(&path).unwrap();
        assert_eq!(ask(&mut client, &[REQUEST_IDENTITIES]), [REQUEST_IDENTITIES, b'!']);
        assert_eq!(ask(&mut client, &[SIGN_REQUEST, 1, 2]), [SIGN_REQUEST, 1, 2, b'!']);
        for forbidden in [0, 17, 18, 19, 22, 25, 27] {
            assert_eq!(ask(&mut client, &[forbidden, 1]), [FAILURE], "{forbidden}");
        }
        assert_eq!(ask(&mut client, &[]), [FAILURE]);
        client.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(
            message::read(&mut client).unwrap().is_none(),
            "a message of 4 GiB is not waited for"
        );
        drop(relay);
        assert!(connect(&path).is_err(), "nobody listens any more");
    }
}
