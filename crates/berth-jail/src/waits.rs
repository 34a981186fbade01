//! System calls that a checkpoint interrupts, and that must not look interrupted to the program.
//!
//! When the kernel has frozen a process in a wait with a relative timeout (`poll`, `nanosleep`, a
//! timed futex), it continues that wait by the system call `restart_syscall`, out of its own memory.
//! That memory is not written to disk, so CRIU lets such a call fail with `EINTR`. A program without
//! signal handlers need not expect this, and many end. Here such calls begin again instead: which one
//! it was is written down while the sandbox is frozen ([`Waits::note`]), and the registers in CRIU's
//! images are set back to before it ([`Waits::resume`]). A timeout starts anew then.
//!
//! x86-64 only: elsewhere CRIU does not keep what is needed, and the program sees `EINTR`.
//!
//! Owner: [`crate::Sandbox`]. Invariants: only registers of a thread that CRIU stopped inside such a
//! call, with no signal pending, are changed; no byte of an image moves.

mod image;

use std::collections::HashMap;
use std::io;
use std::path::Path;

/// A thread's number in the sandbox, which CRIU's images are named by.
type Thread = u32;

/// What continues a wait out of the kernel's memory.
const RESTART: u64 = libc::SYS_restart_syscall.unsigned_abs();

/// Calls that are nothing but a wait: beginning them again is what the kernel itself does after a stop
/// or, for `epoll_wait` and its like, what it leaves to the program.
const WAITS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semtimedop,
];

/// Where a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    call: u64,
    arguments: [u64; 4],
    stack: u64,
    /// After the instruction that makes the call.
    instruction: u64,
}

impl Wait {
    /// As another, apart from the call's number.
    fn is_at(&self, other: &Self) -> bool {
        Self { call: 0, ..*self } == Self { call: 0, ..*other }
    }
}

/// The waits of one sandbox when it was frozen last.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    threads: HashMap<Thread, Wait>,
}

impl Waits {
    /// Looks at every thread of these processes, which are frozen. A wait that was continued since the
    /// last time is known from then.
    pub(crate) fn note(&mut self, processes: impl IntoIterator<Item = u32>) {
        let before = std::mem::take(&mut self.threads);
        for process in processes {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let Some((thread, mut wait)) = look(&task.path()) else {
                    continue;
                };
                if wait.call == RESTART {
                    let known = before.get(&thread).filter(|known| known.is_at(&wait));
                    let Some(known) = known else { continue };
                    wait = *known;
                }
                self.threads.insert(thread, wait);
            }
        }
    }

    /// Rewrites the images of the threads that were interrupted, which begin their waits again then.
    /// How many.
    ///
    /// # Errors
    /// An image cannot be read or written; those before it are as they should be, and each that could
    /// not be changed restores as CRIU would do it.
    pub(crate) fn resume(&self, images: &Path) -> io::Result<usize> {
        let mut resumed = 0;
        for entry in std::fs::read_dir(images)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(thread) = name.to_str().and_then(image::thread) else {
                continue;
            };
            let mut bytes = std::fs::read(entry.path())?;
            let Some(core) = image::Core::find(&bytes) else {
                continue;
            };
            if let Some(call) = self.interrupted(thread, &core)
                && core.begin_again(&mut bytes, call)
            {
                std::fs::write(entry.path(), bytes)?;
                resumed += 1;
            }
        }
        Ok(resumed)
    }

    /// The wait that is to begin again in this thread.
    fn interrupted(&self, thread: Thread, core: &image::Core) -> Option<u64> {
        let call = match core.interrupted_wait()? {
            wait if wait.call != RESTART => wait.call,
            wait => {
                self.threads
                    .get(&thread)
                    .filter(|known| known.is_at(&wait))?
                    .call
            }
        };
        let call = libc::c_long::try_from(call).ok()?;
        WAITS.contains(&call).then_some(call.unsigned_abs())
    }
}

/// The thread's number in its own namespace and the call that it is in, if it is in one.
fn look(task: &Path) -> Option<(Thread, Wait)> {
    let wait = parse(&std::fs::read_to_string(task.join("syscall")).ok()?)?;
    let status = std::fs::read_to_string(task.join("status")).ok()?;
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some((numbers.split_whitespace().next_back()?.parse().ok()?, wait))
}

/// A line of `/proc/<pid>/syscall` (proc_pid_syscall(5)): the number, six arguments, the stack pointer
/// and the program counter; shorter when it is in no call.
fn parse(line: &str) -> Option<Wait> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [call, a, b, c, d, _, _, stack, instruction] = words.as_slice() else {
        return None;
    };
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    Some(Wait {
        call: call.parse().ok()?,
        arguments: [hex(a)?, hex(b)?, hex(c)?, hex(d)?],
        stack: hex(stack)?,
        instruction: hex(instruction)?,
    })
}

#[cfg(test)]
#[path = "waits/tests.rs"]
mod tests;
