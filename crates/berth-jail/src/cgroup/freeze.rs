//! The freezer: version 2's where it is mounted (it reports completion as an event), version 1's
//! otherwise (which has no event, so that its state is read again after short waits).

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{SandboxGroup, keyed, write};

/// How long freezing may take: a process in an uninterruptible system call delays it.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at version 1's state.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl SandboxGroup {
    /// Freezes or thaws and waits until it is done. Blocks.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        if let Some(directory) = self.unified() {
            write(
                &directory.join("cgroup.freeze"),
                if frozen { "1" } else { "0" },
            )?;
            return wait_unified(directory, frozen);
        }
        let Some(directory) = self.v1("freezer") else {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        };
        let state = directory.join("freezer.state");
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        let start = Instant::now();
        loop {
            // Writing again picks up processes forked meanwhile.
            write(&state, wanted)?;
            if std::fs::read_to_string(&state)?.trim() == wanted {
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Lets everything run again without waiting; so that a signal arrives.
    pub(crate) fn thaw(&self) {
        if let Some(directory) = self.unified() {
            let _ = write(&directory.join("cgroup.freeze"), "0");
        }
        if let Some(directory) = self.v1("freezer") {
            let _ = write(&directory.join("freezer.state"), "THAWED");
        }
    }

    /// Whether it has been asked to freeze.
    pub(crate) fn is_frozen(&self) -> bool {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let unified = self.unified().map(|path| path.join("cgroup.freeze"));
        let freezer = self.v1("freezer").map(|path| path.join("freezer.state"));
        unified.is_some_and(|path| read(&path).trim() == "1")
            || freezer.is_some_and(|path| read(&path).trim() != "THAWED" && path.exists())
    }
}

fn wait_unified(directory: &Path, frozen: bool) -> io::Result<()> {
    let events = directory.join("cgroup.events");
    let file = std::fs::File::open(&events)?;
    let start = Instant::now();
    while keyed(&events, "frozen") != Some(u64::from(frozen)) {
        let left = LIMIT.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        wait_for_change(&file, left)?;
    }
    Ok(())
}

/// Waits until the control file changes. kernfs compares with the last read through this very open
/// file, so it is read first, and the caller looks once more after at most 100 ms in case that the
/// change came between the caller's look and this read.
fn wait_for_change(file: &std::fs::File, left: Duration) -> io::Result<()> {
    let mut buffer = [0_u8; 256];
    rustix::io::pread(file, &mut buffer, 0)?;
    let left = left.min(Duration::from_millis(100));
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)];
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
