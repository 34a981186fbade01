//! Standard input, output and error of a new process.
//!
//! Invariant: `/dev/null` is the null device or the process does not start: the container's root may
//! have put a link to something there that only we can open.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Gid, OFlags, Uid, makedev};

use super::root::Root;
use crate::error::{Failure, Step as _};

/// The three streams; `None`: /dev/null of the container.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl Stdio {
    /// A second set of descriptors.
    pub(super) fn try_clone(&self) -> Result<Self, Failure> {
        let clone = |fd: &Option<OwnedFd>| -> std::io::Result<Option<OwnedFd>> {
            fd.as_ref().map(OwnedFd::try_clone).transpose()
        };
        let all = || -> std::io::Result<Self> {
            Ok(Self {
                stdin: clone(&self.stdin)?,
                stdout: clone(&self.stdout)?,
                stderr: clone(&self.stderr)?,
            })
        };
        all().step(|| "duplicate the standard streams".to_owned())
    }

    /// Makes them descriptors 0 to 2. Pipes are given to `uid`/`gid` (host ids), so that the
    /// process can reopen them as /dev/stdout and the like.
    pub(super) fn install(&self, root: &Root, uid: u32, gid: u32) -> Result<(), Failure> {
        let null = open_null(root)?;
        let streams = [&self.stdin, &self.stdout, &self.stderr];
        for fd in streams.into_iter().flatten() {
            let is_pipe = rustix::fs::fstat(fd)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
            if is_pipe {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::fs::fchown(fd, Some(uid), Some(gid))
                    .step(|| "give the standard streams to the user".to_owned())?;
            }
        }
        let pick =
            |fd: &'_ Option<OwnedFd>| fd.as_ref().unwrap_or(&null).as_fd().try_clone_to_owned();
        let step = || "install the standard streams".to_owned();
        rustix::stdio::dup2_stdin(pick(&self.stdin).step(step)?).step(step)?;
        rustix::stdio::dup2_stdout(pick(&self.stdout).step(step)?).step(step)?;
        rustix::stdio::dup2_stderr(pick(&self.stderr).step(step)?).step(step)
    }

    /// Opens what is /dev/null again, in a copy of the mounts that the process has moved to.
    pub(super) fn reopen_null(&self, root: &Root) -> Result<(), Failure> {
        let null = open_null(root)?;
        let step = || "install the standard streams".to_owned();
        if self.stdin.is_none() {
            rustix::stdio::dup2_stdin(&null).step(step)?;
        }
        if self.stdout.is_none() {
            rustix::stdio::dup2_stdout(&null).step(step)?;
        }
        if self.stderr.is_none() {
            rustix::stdio::dup2_stderr(&null).step(step)?;
        }
        Ok(())
    }
}

fn open_null(root: &Root) -> Result<OwnedFd, Failure> {
    let step = || "open `/dev/null` in the container".to_owned();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    let null = root.open("/dev/null", flags).step(step)?;
    let stat = rustix::fs::fstat(&null).step(step)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != makedev(1, 3) {
        return Err(Failure::UnsafePath {
            path: "/dev/null".to_owned(),
            what: "not the null device".to_owned(),
        });
    }
    rustix::fs::fcntl_setfl(&null, OFlags::empty()).step(step)?;
    Ok(null)
}
