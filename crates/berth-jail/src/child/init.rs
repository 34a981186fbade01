//! Process 1 of a sandbox whose program is an ordinary process.
//!
//! Owner: the sandbox's first process, which goes on here instead of executing the program. The kernel
//! spares process 1 every signal that it does not handle; a program that relies on what signals do by
//! themselves (`SIGTERM` ends it) or on others to reap orphans must not be it. Invariants: nothing is
//! open; it is neither traceable nor more privileged than the program; it ends with the program, with
//! its code, or 128 and its signal; with it everything else in the sandbox ends.

use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::error::{Failure, Step as _};
use crate::sys;

/// Forks. Returns in the child, which is to become the program; the caller becomes process 1.
pub(super) fn stay_behind() -> Result<(), Failure> {
    // From here on they wait, so that none is lost between the fork and the loop.
    sys::signal::block_all();
    match sys::clone::plain_fork().step(|| "start the program beside process 1".to_owned())? {
        Some(program) => be_init(program),
        None => {
            let _ = rustix::process::setsid();
            Ok(())
        }
    }
}

fn be_init(program: Pid) -> ! {
    let _ = rustix::thread::set_name(c"berth-init");
    // The report's socket too: its end tells the zygote that the program runs.
    let _ = sys::exec::close_from(0);
    loop {
        match sys::signal::next() {
            libc::SIGCHLD => reap(program),
            // It may have ended just now.
            signal => sys::signal::send_to(program, signal),
        }
    }
}

/// Reaps whoever has ended; leaves if the program has.
fn reap(program: Pid) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            sys::clone::exit_now(code(status));
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(0),
    }
}
