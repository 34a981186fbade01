//! The last steps, common to the first process and exec'ed ones: streams, user namespace, seccomp,
//! user, terminal, working directory, capabilities, `execve`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::Signal;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags};

use super::Policy;
use super::identity::{self, Identity};
use super::init;
use super::modes;
use super::overlay;
use super::program;
use super::root::Root;
use super::stdio::Stdio;
use crate::error::{Failure, Step as _};
use crate::packet;
use crate::protocol::Report;
use crate::seccomp::Filter;
use crate::spec::{ProcessSpec, SpawnTimings, TerminalSpec};
use crate::sys;
use crate::sys::clock::Stopwatch;

/// What is masked of the modes of new files, as everywhere.
const UMASK: u32 = 0o022;
/// Type of the terminal file system, as `fstatfs` reports it.
const DEVPTS: i64 = 0x1cd1;

/// What a process needs to enter.
pub(super) struct Entry<'a> {
    /// Of the steps so far.
    pub(super) timings: SpawnTimings,
    /// Runs since the last of them.
    pub(super) watch: Stopwatch,
    pub(super) filter: &'a Filter,
    pub(super) report: BorrowedFd<'a>,
    pub(super) root: &'a Root,
    pub(super) user_namespace: BorrowedFd<'a>,
    pub(super) process: &'a ProcessSpec,
    pub(super) create_working_directory: bool,
    /// Move to mounts of the container's own; see [`OwnMounts`].
    pub(super) checkpointable: bool,
    /// Stay behind as process 1 and let a child be the program.
    pub(super) init: bool,
    pub(super) streams: Stdio,
    pub(super) policy: &'a Policy,
}

/// Executes the program. The calling process's root, working directory and namespaces are the
/// container's but for the user namespace.
pub(super) fn run(mut entry: Entry<'_>) -> Result<(), Failure> {
    let Entry {
        root,
        process,
        policy,
        ..
    } = entry;
    let capabilities = identity::parse_capabilities(&policy.capabilities)?;
    let user = identity::resolve(root, &process.user, &policy.groups)?;
    let (host_uid, host_gid) = (policy.id_base + user.uid, policy.id_base + user.gid);
    let owner = entry
        .create_working_directory
        .then_some((host_uid, host_gid));
    let directory = open_working_directory(root, &process.cwd, owner)?;
    entry.streams.install(root, host_uid, host_gid)?;
    rustix::process::setsid().step(|| "start a session".to_owned())?;
    let mounting = capabilities.contains(CapabilitySet::SYS_ADMIN);
    let own = if entry.create_working_directory {
        OwnMounts::prepare(mounting, entry.checkpointable)?
    } else {
        None
    };
    enter_user_namespace(entry.user_namespace)?;
    let own_root;
    let (root, directory) = if let Some(own) = own {
        own_root = own.enter()?;
        // What was opened before is in mounts that will soon be nobody's.
        entry.streams.reopen_null(&own_root)?;
        let directory = open_working_directory(&own_root, &process.cwd, None)?;
        (&own_root, directory)
    } else {
        (root, directory)
    };
    if policy.no_new_privs {
        rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs".to_owned())?;
    }
    entry.filter.install(entry.report, mounting)?;
    identity::limit_capabilities(capabilities)?;
    identity::become_user(&user)?;
    if let Some(wanted) = &process.terminal {
        open_terminal(root, wanted, entry.report)?;
    }
    change_directory(&directory, &process.cwd)?;
    identity::drop_capabilities(capabilities, user.uid)?;
    rustix::process::umask(Mode::from(policy.umask.unwrap_or(UMASK) & 0o777));
    // The change of user cleared it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step(|| "tie the process to the zygote".to_owned())?;
    entry.timings.identity = entry.watch.lap();
    execute(&entry, root, &user)
}

fn execute(entry: &Entry<'_>, root: &Root, user: &Identity) -> Result<(), Failure> {
    let program = program::Program::new(entry.process, &user.home)?;
    if entry.init {
        init::stay_behind()?;
    }
    // Nothing but the three streams survives, whatever was opened on the way (CVE-2024-21626).
    sys::exec::cloexec_from(3).step(|| "close inherited descriptors".to_owned())?;
    let ready = Report::Ready {
        at: sys::clock::now(),
        timings: entry.timings,
    };
    packet::send(entry.report, &ready, &[])
        .step(|| "report that the container is ready".to_owned())?;
    sys::signal::reset_all();
    Err(program.execute(root))
}

fn enter_user_namespace(user_namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::thread::move_into_link_name_space(user_namespace, Some(LinkNameSpaceType::User))
        .step(|| "enter the user namespace".to_owned())
}

/// A mount namespace that belongs to the container's user namespace.
enum OwnMounts {
    /// For who may mount: a copy, so that CAP_SYS_ADMIN inside may add to it. What was mounted so far
    /// is locked: it can be neither unmounted nor looked under.
    Locked,
    /// For who may not, so that CRIU finds every namespace that it writes down in the hands of the
    /// user namespace that it writes down. Locked mounts could not be cloned one by one for what is
    /// restored, so the whole tree moves in.
    Moved(OwnedFd),
}

impl OwnMounts {
    /// Still in the host's user namespace.
    fn prepare(mounting: bool, checkpointable: bool) -> Result<Option<Self>, Failure> {
        if mounting {
            return Ok(Some(Self::Locked));
        }
        if !checkpointable {
            return Ok(None);
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, "/", flags);
        let tree = tree.step(|| "copy the container's mounts".to_owned())?;
        Ok(Some(Self::Moved(tree)))
    }

    /// In the container's user namespace.
    fn enter(self) -> Result<Root, Failure> {
        sys::namespace::unshare(UnshareFlags::NEWNS)
            .step(|| "create a mount namespace of the container's own".to_owned())?;
        if let Self::Moved(tree) = self {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, "/", flags, Mode::empty());
            let root = root.step(|| "open the container's root".to_owned())?;
            overlay::attach(&tree, &root, || "move the container's mounts".to_owned())?;
            overlay::pivot(&tree)?;
        }
        Root::current()
    }
}

fn open_working_directory(
    root: &Root,
    path: &str,
    owner: Option<(u32, u32)>,
) -> Result<OwnedFd, Failure> {
    let shown = if path.is_empty() { "/" } else { path };
    let refused = |reason: String| Failure::WorkingDirectory {
        path: shown.to_owned(),
        reason,
    };
    if !shown.starts_with('/') {
        return Err(refused("it is not absolute".to_owned()));
    }
    match root.open(shown, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(found) => Ok(found),
        Err(Errno::NOENT) if owner.is_some() => {
            root.directory(shown, owner)
                .map_err(|failure| match failure {
                    Failure::UnsafePath { path, what } => refused(format!("`{path}` is {what}")),
                    Failure::Setup { errno, .. } => {
                        refused(describe(Errno::from_raw_os_error(errno)))
                    }
                    other => other,
                })
        }
        Err(error) => Err(refused(describe(error))),
    }
}

fn describe(error: Errno) -> String {
    match error {
        Errno::LOOP => "it leads out of the image".to_owned(),
        Errno::NOTDIR => "it is not a directory".to_owned(),
        Errno::NOENT => "it does not exist".to_owned(),
        Errno::ACCESS => "the user may not enter it".to_owned(),
        other => other.kind().to_string(),
    }
}

fn change_directory(directory: &OwnedFd, path: &str) -> Result<(), Failure> {
    let refused = |reason: String| Failure::WorkingDirectory {
        path: path.to_owned(),
        reason,
    };
    rustix::process::fchdir(directory).map_err(|error| refused(describe(error)))?;
    let current = rustix::process::getcwd(Vec::new()).map_err(|error| refused(describe(error)))?;
    // The kernel prefixes a directory that is not below the root with `(unreachable)`.
    if current.to_bytes().first() == Some(&b'/') {
        Ok(())
    } else {
        Err(refused("it is outside of the container".to_owned()))
    }
}

/// Makes a terminal in the container's devpts, owned by the user, and makes it the controlling one
/// and the three streams.
fn open_terminal(
    root: &Root,
    wanted: &TerminalSpec,
    report: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let step = || "open a terminal in the container".to_owned();
    let master = root
        .open("/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY)
        .step(step)?;
    let kind = rustix::fs::fstatfs(&master).step(step)?.f_type;
    if kind != DEVPTS {
        return Err(Failure::UnsafePath {
            path: "/dev/pts/ptmx".to_owned(),
            what: "not a terminal multiplexer".to_owned(),
        });
    }
    rustix::pty::unlockpt(&master).step(step)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).step(step)?;
    let size = Winsize {
        ws_row: wanted.rows,
        ws_col: wanted.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal, size).step(step)?;
    if !wanted.modes.is_empty() {
        let mut settings = rustix::termios::tcgetattr(&terminal).step(step)?;
        modes::apply(&mut settings, &wanted.modes);
        let now = rustix::termios::OptionalActions::Now;
        rustix::termios::tcsetattr(&terminal, now, &settings).step(step)?;
    }
    rustix::process::ioctl_tiocsctty(&terminal).step(step)?;
    rustix::stdio::dup2_stdin(&terminal).step(step)?;
    rustix::stdio::dup2_stdout(&terminal).step(step)?;
    rustix::stdio::dup2_stderr(&terminal).step(step)?;
    packet::send(report, &Report::Terminal, &[master.as_fd()]).step(step)
}
