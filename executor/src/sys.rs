//! The system calls that no dependency wraps safely: all of the crate's `unsafe`.
//!
//! Every function here is itself safe to call under the condition its documentation states.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::CloneFlags;
use nix::unistd::Pid;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::futex;

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The process that was there before; the child's id, as this process sees it.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. The process must have one thread only.
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: the caller is `userns::enter`, which is documented to be called before any thread exists. So
    // no lock can be held by a thread that the child lacks, and the child may go on as any program.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Side::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Side::Child),
    }
}

/// Forks into new namespaces; the child is the first process of a new pid namespace if that is among them.
/// The process must have one thread only.
pub(crate) fn fork_into(namespaces: CloneFlags) -> io::Result<Side> {
    let flags = i64::from(namespaces.bits()) | i64::from(libc::SIGCHLD);
    // SAFETY: without a stack, and without the flags that share memory, clone(2) is fork(2): the child goes
    // on with a copy of everything. Its order of arguments differs between machines, but for the first two;
    // all others are null. The one caller is the sandbox helper, which never starts a thread, so no lock
    // can be held by a thread that the child lacks.
    match check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_i64, 0_i64, 0_i64, 0_i64) })? {
        0 => Ok(Side::Child),
        child => Ok(Side::Parent(Pid::from_raw(i32::try_from(child).unwrap_or(i32::MAX)))),
    }
}

/// Does `child` in a new process that has this one's memory. This one does what is to be done `beside` it, and then stands
/// still until the new one has executed a program or has returned from `child` and ended. A copy of the memory, which is
/// made to be thrown away, costs more than all that is done with it.
///
/// The process must have one thread only. `beside` must be system calls that go to the kernel directly, and atomic
/// variables: nothing that takes or gives back memory, and nothing of the C library's.
pub(crate) fn spawn_in_memory(child: &mut dyn FnMut(), beside: &dyn Fn()) -> io::Result<Pid> {
    /// No caller's frames nest deep; what is not touched costs nothing.
    const STACK_BYTES: usize = 512 << 10;

    extern "C" fn run(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the pointer made below, to a closure that outlives the new process's time in this memory.
        let child: &mut &mut dyn FnMut() = unsafe { &mut *child.cast() };
        child();
        0
    }

    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a mapping at an address of the kernel's choice touches no other.
    let stack = unsafe { mmap_anonymous(std::ptr::null_mut(), STACK_BYTES, access, kind) }?;
    let mut child = child;
    let (child, nothing) = ((&raw mut child).cast(), std::ptr::null_mut::<libc::c_void>());
    // The kernel clears it and wakes who waits for it when the new process has left the memory (CLONE_CHILD_CLEARTID).
    let inside = AtomicU32::new(1);
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // SAFETY: the end of the mapping is a stack's beginning, aligned to a page. This process touches neither what `child`
    // does nor the allocator before the new one has left the memory, since `beside` does not, and waits for that below; so
    // as far as memory goes this is a call of `child` on another stack, which lives until then, as does `inside`.
    // Descriptors, directories and signal actions are not shared.
    let spawned = unsafe {
        let top = stack.cast::<u8>().add(STACK_BYTES).cast();
        libc::clone(run, top, flags, child, nothing, nothing, inside.as_ptr())
    };
    if spawned > 0 {
        beside();
        while inside.load(Ordering::Acquire) != 0 {
            // Not a private one: the kernel's wake is not. What it says is seen in the variable.
            let _woken = futex::wait(&inside, futex::Flags::empty(), 1, None);
        }
    }
    let result = check(i64::from(spawned));
    // SAFETY: whoever ran on the stack has left it.
    unsafe { munmap(stack, STACK_BYTES) }?;
    result.map(|_| Pid::from_raw(spawned))
}

/// Ends this process at once. What a program does when it ends would only copy more of the memory.
pub(crate) fn end() -> ! {
    // SAFETY: nothing of this process's is needed any more, and no other thread runs.
    unsafe { libc::_exit(0) }
}

/// Has children that end forgotten at once, without a wait for each; one for all then waits for the last.
pub(crate) fn let_children_go() -> io::Result<()> {
    on_child_end(libc::SIG_IGN)
}

/// Keeps children that end until they are waited for, as is usual.
pub(crate) fn wait_for_children() -> io::Result<()> {
    on_child_end(libc::SIG_DFL)
}

fn on_child_end(action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither action installs code of ours.
    if unsafe { libc::signal(libc::SIGCHLD, action) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Kills every process of this pid namespace but this one, which must be its first.
pub(crate) fn kill_all_others() -> io::Result<()> {
    // Anywhere else these would be other people's.
    if nix::unistd::getpid() != Pid::from_raw(1) {
        return Err(io::Error::other("not the first process of a sandbox"));
    }
    match nix::sys::signal::kill(Pid::from_raw(-1), nix::sys::signal::Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Joins a new, nameless session keyring. A kernel that has no keyrings, or a filter that forbids them,
/// leaves nothing to hide and is no error.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: keyctl(2) with KEYCTL_JOIN_SESSION_KEYRING reads only its name argument, and a null name
    // asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    match check(result) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        other => other.map(drop),
    }
}

/// Closes every descriptor above standard error. The process must own none of them.
pub(crate) fn close_inherited_descriptors() -> io::Result<()> {
    // SAFETY: called first thing in the helper, when no object of this process holds a descriptor; no
    // memory is involved.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) }).map(drop)
}

/// Marks every descriptor above standard error to be closed when a program is executed.
pub(crate) fn close_descriptors_on_exec() -> io::Result<()> {
    // SAFETY: changes flags of descriptors only; no memory is involved.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result).map(drop)
}

/// Makes the mount a descriptor stands for read-only, with all mounts below it if `recursive`.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    /// `struct mount_attr` of mount_setattr(2).
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    /// `MOUNT_ATTR_RDONLY`.
    const READ_ONLY: u64 = 1;
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let attributes = MountAttributes { set: READ_ONLY, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the path is a valid empty C string and the attribute block, of the size stated, lives
    // across the call; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    check(result).map(drop)
}

/// Switches the interface `lo` of this network namespace on.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: socket(2) involves no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(i64::from(socket))?;
    // SAFETY: the call above made this descriptor and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: `ifreq` is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: SIOCSIFFLAGS reads an `ifreq` whose name is terminated (it was zeroed) and whose flags
    // are set; it lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(i64::from(result)).map(drop)
}

/// At least as long as the kernel's `sigaction`, whose first word is the action.
type SignalAction = [libc::c_ulong; 8];

/// A signal's action, which becomes `new` if that is given. The C library refuses both for the two signals that it keeps
/// for itself, and has the programs that it starts ignore them.
fn signal_action(signal: libc::c_int, new: Option<&SignalAction>) -> io::Result<SignalAction> {
    const SET_BYTES: usize = 8;
    let new: *const SignalAction = new.map_or(std::ptr::null(), |new| new);
    let mut old = SignalAction::default();
    // SAFETY: the kernel reads `new`, which may be null, and writes `old`; both are long enough and live across the call.
    // The only action that is ever set is SIG_DFL, which is no code.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, &raw mut old, SET_BYTES) };
    check(result)?;
    Ok(old)
}

/// The signals that are ignored here. A program that is executed would ignore them too, where one that has a handler
/// of ours gets its default action by itself.
pub(crate) fn ignored_signals() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        let action = signal_action(*signal, None);
        action.is_ok_and(|action| action[0] == libc::SIG_IGN as libc::c_ulong)
    };
    (1..=libc::SIGRTMAX()).filter(is_ignored).collect()
}

/// Gives signals their default action and lets all through, as a new program expects it.
pub(crate) fn reset_signals(ignored: &[libc::c_int]) -> io::Result<()> {
    // SIG_DFL, without flags.
    let default = SignalAction::default();
    for &signal in ignored {
        signal_action(signal, Some(&default))?;
    }
    Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)
}

/// Gives up every capability of the bounding set that `keep` has no bit for, up to number `last`. What this process
/// itself may do stays, until it executes a program.
pub(crate) fn limit_bounding_set(keep: u64, last: u32) -> io::Result<()> {
    for capability in (0..=last.min(63)).filter(|number| keep & (1 << number) == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number and involves no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
        check(i64::from(result))?;
    }
    Ok(())
}

/// Empties the inheritable set, and the permitted and effective sets but for `keep`.
pub(crate) fn limit_capabilities(keep: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits in two halves.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [Half::default(); 2];
    // SAFETY: version 3 means one header and two halves, which is what both pointers point to.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) })?;
    for (half, shift) in sets.iter_mut().zip([0, 32]) {
        let kept = u32::try_from((keep >> shift) & u64::from(u32::MAX)).unwrap_or(0);
        half.permitted &= kept;
        half.effective = half.permitted;
        half.inheritable = 0;
    }
    // SAFETY: as above; the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) }).map(drop)
}

/// Installs a filter of system calls, given as the fields of `struct sock_filter`. Needs CAP_SYS_ADMIN.
pub(crate) fn filter_system_calls(
    instructions: impl Iterator<Item = (u16, u8, u8, u32)>,
) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        instructions.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = libc::c_ushort::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the program names as many instructions as the vector holds, and both live across the call; the
    // kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    check(result).map(drop)
}

/// Becomes the program at `path`; returns only if that fails.
pub(crate) fn execute(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    match nix::unistd::execve(path, args, env) {
        Err(errno) => errno.into(),
        Ok(never) => match never {},
    }
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
