//! The zygote: a single-threaded process that forks every container process, is their parent, and
//! answers the daemon over one socket.
//!
//! Owner: [`zygote_main`], in a process of its own. Invariants: single-threaded for its whole life;
//! never waits for a child (only for events); holds no privilege-sensitive state but descriptors;
//! sits in the session's control group and in a session (`setsid`) of its own, so that a terminal's
//! signals do not reach it.

mod checkpoint;
mod children;
mod door;
mod listen;
mod requests;
mod server;
pub(crate) mod user_namespace;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource};

use crate::cgroup::Session;
use crate::sys;
use door::Door;
pub(crate) use door::with_short_path;
use server::Server;

/// First argument of the re-executed binary that turns it into the zygote.
pub const ZYGOTE_ARG: &str = "__zygote";

/// Third argument: leave when the daemon does.
pub(crate) const KILL_ALL: &str = "kill-all";
/// Third argument: outlive the daemon. The fourth is where the next one finds us, the fifth for how many
/// seconds we wait for it.
pub(crate) const KEEP: &str = "keep";

/// Whether this process was started to be the zygote; then call [`zygote_main`] at once.
pub fn is_zygote() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ZYGOTE_ARG)
}

/// The zygote's side: never returns to the caller's program. Call it first thing in `main`, before
/// any thread exists, when the first argument is [`ZYGOTE_ARG`].
pub fn zygote_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(io::stderr(), "berth-zygote: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let unknown = || io::Error::other("this is a part of berth that only berth itself starts");
    let (cgroup, socket) = match arguments.as_slice() {
        [cgroup, mode] if mode == KILL_ALL => (cgroup, None),
        [cgroup, mode, socket, patience] if mode == KEEP => {
            let patience = patience.parse().map_err(|_| unknown())?;
            let patience = Duration::from_secs(patience);
            (cgroup, Some((PathBuf::from(socket), patience)))
        }
        _ => return Err(unknown()),
    };
    let leave_with_daemon = socket.is_none();
    let control = take_control_socket(leave_with_daemon)?;
    rustix::thread::set_name(c"berth-zygote")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Fails only for a process group leader, which a child of the daemon is not.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    raise_open_files();
    let mut session = Session::open(cgroup)?;
    // A zygote that was killed leaves groups, and what had escaped being killed with it.
    session.sweep_sandboxes()?;
    session.create()?;
    session.adopt(std::process::id())?;
    let door = match socket {
        Some((path, patience)) => Some(Door::open(path, patience)?),
        None => None,
    };
    let outcome = Server::new(control, session.clone(), door).and_then(Server::run);
    session.leave()?;
    session.remove();
    outcome
}

/// What is kept of each container takes descriptors. Containers have a limit of their own.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With the lower limit it works as well, for fewer containers.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// The daemon's socket comes as standard input; afterwards 0 to 2 are harmless and nothing else is
/// open.
fn take_control_socket(keep_stderr: bool) -> io::Result<OwnedFd> {
    sys::exec::close_from(3)?;
    let control = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    rustix::io::ioctl_fionbio(&control, true)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if !keep_stderr {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(control)
}
