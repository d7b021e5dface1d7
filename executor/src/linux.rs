//! [`Kernel`] on Linux: each step as system calls.
//!
//! Runs in a process with one thread only.

mod guest;
mod host;
mod overlay;
mod process;
mod root;
mod stub;
mod terminal;
mod upper;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::MsFlags;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use self::host::Host;
pub(crate) use self::process::null_input;
pub(crate) use self::terminal::{END_FOLLOWS, winsize};
use self::upper::Upper;
use crate::kernel::{Identity, Kernel, Spawned};
use crate::plan::{DeviceKind, FileSource, Filter, Kind, MountFlag, RootMount};
use crate::report::Report;
use crate::{Access, Exit, Step, mount, sys};

/// The operating system, and what the steps so far have opened.
#[derive(Debug)]
pub(crate) struct Linux {
    /// The caller's end hangs up when it wants the sandbox gone, or is gone itself.
    caller: OwnedFd,
    /// The mounted root, until it is the process's own; before it is mounted, the frame.
    root: Option<OwnedFd>,
    /// What stood for the root before that was mounted.
    frame: Option<OwnedFd>,
    snapshots: Vec<Snapshot>,
    /// A root filesystem that the caller gave.
    given: Option<OwnedFd>,
    /// What of the root may show that another command can have it.
    upper: Option<Upper>,
    /// What hides files and what hides directories, once something does.
    null: Option<OwnedFd>,
    nothing: Option<OwnedFd>,
    /// The command's terminal, until the command has it.
    terminal: Option<OwnedFd>,
    host: Arc<Host>,
    /// Signals that a program would go on ignoring.
    ignored_signals: Vec<i32>,
}

#[derive(Debug)]
struct Snapshot {
    tree: OwnedFd,
    directory: bool,
}

impl Linux {
    /// Watches `caller`'s socket. The `ignored_signals` are to have their default action in the command.
    pub(crate) fn new(caller: OwnedFd, ignored_signals: Vec<i32>) -> Self {
        Self {
            caller,
            root: None,
            frame: None,
            snapshots: Vec::new(),
            given: None,
            upper: None,
            null: None,
            nothing: None,
            terminal: None,
            host: Arc::default(),
            ignored_signals,
        }
    }

    fn root(&self) -> io::Result<&OwnedFd> {
        self.root.as_ref().ok_or_else(|| io::Error::other("the root is not mounted yet"))
    }

    fn is_directory(&self, kind: Kind) -> io::Result<bool> {
        match kind {
            Kind::Directory => Ok(true),
            Kind::File => Ok(false),
            Kind::OfSnapshot(index) => Ok(self.snapshot(index)?.directory),
        }
    }

    fn snapshot(&self, index: usize) -> io::Result<&Snapshot> {
        self.snapshots.get(index).ok_or_else(|| io::Error::other("that snapshot is not open yet"))
    }

    /// Opens a mount point. One that is missing lies on another mount (those of the root itself were
    /// supplied with it) and is made there.
    fn target(&self, path: &str, directory: bool) -> io::Result<OwnedFd> {
        let root = self.root()?;
        if self.frame.is_none() && directory {
            // Of the frame, which nobody else has written to, the most is missing and nothing is a link.
            let path = path.trim_start_matches('/');
            let _exists = rustix::fs::mkdirat(root, path, guest::NEW_DIRECTORY);
        }
        match guest::open(root, path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let resolved = guest::resolve(root.as_fd(), path)?;
        guest::make(root.as_fd(), &resolved, directory)?;
        guest::open(root, path)
    }

    fn mount_root(&mut self, mount: &RootMount) -> io::Result<()> {
        let mut points = Vec::with_capacity(mount.mount_points.len());
        for point in &mount.mount_points {
            points
                .push(stub::Point { path: &point.path, directory: self.is_directory(point.kind)? });
        }
        self.frame = self.root.replace(root::mount(mount, &points)?);
        self.watch(mount.outlives.then_some(mount.upper.as_path()));
        Ok(())
    }

    /// Takes a root filesystem that the caller gives with the next steps.
    pub(crate) fn give_root(&mut self, root: OwnedFd) {
        self.given = Some(root);
    }

    fn take_root(&mut self, upper: &Path, at: &Path) -> io::Result<()> {
        let root = self.given.take().ok_or_else(|| io::Error::other("none was given"))?;
        fs::create_dir(at)?;
        overlay::attach(&root, at)?;
        self.watch(Some(upper));
        self.frame = self.root.replace(root);
        Ok(())
    }

    /// What cannot be watched counts as changed.
    fn watch(&mut self, upper: Option<&Path>) {
        self.upper = upper.and_then(|upper| Upper::watch(upper).ok());
    }

    /// The root filesystem for another command, if the last one has changed nothing in it: a further mount, outside the
    /// tree, so that it stays when this process's mounts go.
    pub(crate) fn untouched_root(&self) -> Option<OwnedFd> {
        let upper = self.upper.as_ref()?;
        // The next command has one made if this does not work.
        upper.is_untouched().ok().filter(|&untouched| untouched)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        clone_tree(&rustix::fs::open("/", flags, Mode::empty()).ok()?, false).ok()
    }

    fn open_frame(&mut self, at: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(at)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.root = Some(rustix::fs::open(at, flags, Mode::empty())?);
        Ok(())
    }

    fn attach_frame(&self, directory: &str) -> io::Result<()> {
        let frame = self.frame.as_ref().ok_or_else(|| io::Error::other("there is no frame"))?;
        put(&guest::open(frame, directory)?, &self.target(directory, true)?)
    }

    /// Makes a device, mode 0666, with names alone above it.
    fn make_device(&self, path: &str, kind: DeviceKind, major: u32, minor: u32) -> io::Result<()> {
        let (root, path) = (self.root()?, path.trim_start_matches('/'));
        let mode = Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(major, minor);
        let kind = match kind {
            DeviceKind::Character => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
        };
        // Whatever the umask takes away.
        rustix::fs::mknodat(root, path, kind, mode, device)?;
        Ok(rustix::fs::chmodat(root, path, mode, AtFlags::empty())?)
    }

    fn symlink(&self, path: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(to, self.root()?, path.trim_start_matches('/'))?)
    }

    /// Hides a path, if it exists: a directory behind an empty one, anything else behind `/dev/null`.
    fn mask(&mut self, path: &str) -> io::Result<()> {
        let Some(found) = existing(self.root()?, path)? else { return Ok(()) };
        let stat = rustix::fs::statat(&found, c"", AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return put(&clone_tree(self.null()?, false)?, &found);
        }
        // All stand behind the same: a filesystem for each takes longer to make and to take down.
        if let Some(nothing) = &self.nothing {
            return put(&clone_tree(nothing, false)?, &found);
        }
        mount::tmpfs(&by_descriptor(&found), Some(0), 0o755)?;
        let nothing = guest::open(self.root()?, path)?;
        sys::make_read_only(nothing.as_fd(), false)?;
        self.nothing = Some(nothing);
        Ok(())
    }

    fn null(&mut self) -> io::Result<&OwnedFd> {
        let null = match self.null.take() {
            Some(null) => null,
            None => guest::open(self.root()?, "/dev/null")?,
        };
        Ok(self.null.insert(null))
    }

    /// Makes a path read-only, if it exists.
    fn protect(&self, path: &str) -> io::Result<()> {
        let Some(found) = existing(self.root()?, path)? else { return Ok(()) };
        let tree = clone_tree(&found, false)?;
        sys::make_read_only(tree.as_fd(), false)?;
        put(&tree, &found)
    }

    fn open_snapshot(
        &mut self,
        stack: &[PathBuf],
        writable: Option<(&Path, &Path)>,
        at: &Path,
        path: &str,
    ) -> io::Result<()> {
        fs::create_dir(at)?;
        let stack: Vec<&Path> = stack.iter().map(PathBuf::as_path).collect();
        let mounted = overlay::mount(&stack, writable)?;
        overlay::attach(&mounted, at)?;
        let found = guest::open(&mounted, path)?;
        let stat = rustix::fs::statat(&found, c"", AtFlags::EMPTY_PATH)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        self.snapshots.push(Snapshot { tree: clone_tree(&found, false)?, directory });
        Ok(())
    }

    fn bind(&self, source: &Path, target: &str, kind: Kind, access: Access) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let source = rustix::fs::open(source, flags, Mode::empty())?;
        let directory = self.is_directory(kind)?;
        let tree = clone_tree(&source, directory)?;
        if access == Access::ReadOnly {
            sys::make_read_only(tree.as_fd(), directory)?;
        }
        put(&tree, &self.target(target, directory)?)
    }

    fn mount(&self, fs: &str, target: &str, flags: &[MountFlag], options: &str) -> io::Result<()> {
        let target = self.target(target, true)?;
        let flags = flags.iter().fold(MsFlags::empty(), |all, flag| all | mount_flag(*flag));
        Ok(nix::mount::mount(Some(fs), &by_descriptor(&target), Some(fs), flags, Some(options))?)
    }

    fn pivot(&mut self) -> io::Result<()> {
        rustix::process::fchdir(self.root()?)?;
        // The old root is put on top of the new one, where the working directory then is.
        rustix::process::pivot_root(".", ".")?;
        self.host.is_left_behind();
        self.root = None;
        self.frame = None;
        self.null = None;
        self.nothing = None;
        self.snapshots.clear();
        Ok(())
    }
}

impl Kernel for Linux {
    fn perform(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::NewSession => Ok(nix::unistd::setsid().map(drop)?),
            Step::PrivateMounts => make_private(),
            Step::SetHostname { name } => Ok(nix::unistd::sethostname(name)?),
            Step::LoopbackUp => sys::loopback_up(),
            Step::WriteFile(file) => write_file(file),
            Step::HostTmpfs { path } => {
                root::make_if_absent(path)?;
                mount::tmpfs(path, None, 0o700)
            }
            Step::OpenSnapshot { lowers, writable, scratch, at, path } => {
                let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
                let writable =
                    writable.as_ref().map(|dirs| (dirs.upper.as_path(), dirs.work.as_path()));
                self.open_snapshot(&root::padded(&lowers, scratch)?, writable, at, path)
            }
            Step::OpenFrame { at } => self.open_frame(at),
            Step::MountRoot(root) => self.mount_root(root),
            Step::TakeRoot { upper, at } => self.take_root(upper, at),
            Step::AttachFrame { directory } => self.attach_frame(directory),
            Step::Mount { fs, target, flags, options } => self.mount(fs, target, flags, options),
            Step::Bind { source, target, kind, access } => {
                self.bind(source, target, *kind, *access)
            }
            Step::AttachSnapshot { index, target } => {
                let snapshot = self.snapshot(*index)?;
                put(&snapshot.tree, &self.target(target, snapshot.directory)?)
            }
            Step::Tmpfs { target, size_bytes } => {
                let target = self.target(target, true)?;
                mount::tmpfs(&by_descriptor(&target), *size_bytes, 0o1777)
            }
            Step::Pivot => self.pivot(),
            Step::LeaveHost => self.host.wait(),
            Step::MakeDevice { path, kind, major, minor } => {
                self.make_device(path, *kind, *major, *minor)
            }
            Step::Symlink { path, to } => self.symlink(path, to),
            Step::Mask { path } => self.mask(path),
            Step::Protect { path } => self.protect(path),
            Step::NullInput => null_input(),
            Step::OfferPipe => terminal::offer_pipe(self.caller.as_fd()),
            Step::OfferTerminal(size) => {
                self.terminal = Some(terminal::offer(self.caller.as_fd(), *size)?);
                Ok(())
            }
            Step::TakeTerminal => terminal::take(self.terminal.as_ref()),
            Step::SetLimits { limits } => process::set_limits(limits),
            Step::EnterDirectory { path } => process::enter(path),
            Step::NewKeyring => sys::new_session_keyring(),
            Step::LimitCapabilities { keep, last } => sys::limit_bounding_set(*keep, *last),
            Step::FilterSystemCalls => match Filter::default_of_docker() {
                Some(filter) => sys::filter_system_calls(filter.instructions()),
                None => Ok(()),
            },
            Step::ForkCommand | Step::BecomeUser { .. } | Step::Execute { .. } => {
                Err(io::Error::other("this step is not one that is merely performed"))
            }
        }
    }

    fn spawn(&mut self, lead: &mut dyn FnMut(&mut Self) -> Report) -> io::Result<Spawned> {
        let host = Arc::clone(&self.host);
        let spawned = process::spawn(&mut || lead(self), &|| host.take_off());
        // It ends with the last process that has it, which is to be one of the command's.
        self.terminal = None;
        spawned
    }

    fn reap(&mut self, command: i32) -> io::Result<Exit> {
        process::reap(command, &self.caller)
    }

    fn read_guest_file(&mut self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        // Without waiting for a writer, should it be a pipe.
        let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn become_user(&mut self, identity: &Identity, keep: u64) -> io::Result<()> {
        process::become_user(identity, keep)
    }

    fn execute(&mut self, path: &str, args: &[String], env: &[(String, String)]) -> io::Error {
        process::execute(path, args, env, &self.ignored_signals)
    }

    fn exists(&mut self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

fn make_private() -> io::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
}

fn mount_flag(flag: MountFlag) -> MsFlags {
    match flag {
        MountFlag::NoSuid => MsFlags::MS_NOSUID,
        MountFlag::NoExec => MsFlags::MS_NOEXEC,
        MountFlag::NoDev => MsFlags::MS_NODEV,
        MountFlag::ReadOnly => MsFlags::MS_RDONLY,
        MountFlag::StrictAtime => MsFlags::MS_STRICTATIME,
    }
}

/// A path that leads to exactly what a descriptor stands for.
fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A copy of what is mounted at a place, outside the tree.
fn clone_tree(of: &OwnedFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(of, c"", flags)?)
}

/// Puts a tree that is outside the tree of mounts on a mount point.
fn put(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", target, c"", flags)?)
}

fn write_file(file: &FileSource) -> io::Result<()> {
    let mut out =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.path)?;
    out.write_all(&file.content.0)?;
    let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
    rustix::fs::fchown(&out, Some(uid), Some(gid))?;
    Ok(rustix::fs::fchmod(&out, Mode::from_raw_mode(file.mode & 0o7777))?)
}

/// What stands at a path of the frame; nothing if nothing does.
fn existing(root: &OwnedFd, path: &str) -> io::Result<Option<OwnedFd>> {
    match guest::open(root, path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
