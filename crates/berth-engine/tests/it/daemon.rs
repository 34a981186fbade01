//! This program again, as a daemon that is killed, and the processes of its containers.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A daemon that does not outlive the test, whatever happens to that.
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The daemon `what`, whose sessions are in `root` and whose containers run `program`. It says on its
/// standard output what it has done.
pub(crate) fn command(what: &str, root: &Path, program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(what)
        .args([root, program])
        .stdout(Stdio::piped());
    command
}

/// A process, whatever becomes of its number. Whoever inherits it may reap it late, so its directory in
/// /proc says nothing about its life.
pub(crate) struct Process(OwnedFd);

impl Process {
    pub(crate) fn open(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    pub(crate) fn lives(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 0
    }
}
