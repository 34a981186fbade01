//! The zygote's children: what each one is, what it reports, how it ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::checkpoint::Work;
use super::door::Ended;
use super::listen;
use super::server::Server;
use crate::cgroup::SandboxGroup;
use crate::child::Policy;
use crate::crash_point;
use crate::error::Failure;
use crate::protocol::{Reply, Report, Ticket};
use crate::spec::{ExitStatus, SpawnTimings};
use crate::{packet, sys};

/// Names a child for the zygote's lifetime; never 0.
pub(super) type Key = u64;

/// A child's descriptors in the epoll set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Exit,
    Report,
    Listener,
}

impl Source {
    pub(super) fn token(self, key: Key) -> u64 {
        let kind = match self {
            Self::Exit => 0,
            Self::Report => 1,
            Self::Listener => 2,
        };
        key * 4 + kind
    }

    pub(super) fn of(token: u64) -> (Key, Self) {
        let source = match token % 4 {
            0 => Self::Exit,
            1 => Self::Report,
            _ => Self::Listener,
        };
        (token / 4, source)
    }
}

/// Writing ends of a sandbox's output, if it may be written to disk; else why not.
pub(super) type KeptOutput = Result<Vec<OwnedFd>, &'static str>;

/// What a child is for.
#[derive(Debug)]
pub(super) enum Role {
    /// Waits for an order.
    Blank { group: SandboxGroup, name: String },
    /// A sandbox's first process.
    Sandbox {
        ticket: Ticket,
        /// As in its specification.
        id: String,
        group: SandboxGroup,
        name: String,
        policy: Box<Policy>,
        user_namespace: Rc<OwnedFd>,
        kept_output: KeptOutput,
    },
    /// A process exec'ed into a sandbox.
    Exec { ticket: Ticket, sandbox: Ticket },
    /// CRIU, at work on a sandbox.
    Criu {
        ticket: Ticket,
        sandbox: Ticket,
        work: Work,
    },
    /// What a failed restoration left, killed.
    Stray,
}

/// One child.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) role: Role,
    /// Open until the program runs or the child gave up.
    pub(super) report: Option<OwnedFd>,
    pub(super) listener: Option<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    /// When it was about to be executed (nanoseconds of the monotonic clock), and what the steps
    /// before took.
    pub(super) ready: Option<(u64, SpawnTimings)>,
    pub(super) failure: Option<Failure>,
    /// The daemon knows that it was started.
    pub(super) announced: bool,
}

impl Process {
    /// Its pid.
    pub(super) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ticket of the sandbox it belongs to.
    fn sandbox(&self) -> Option<Ticket> {
        match &self.role {
            Role::Blank { .. } | Role::Criu { .. } | Role::Stray => None,
            Role::Sandbox { ticket, .. } => Some(*ticket),
            Role::Exec { sandbox, .. } => Some(*sandbox),
        }
    }
}

impl Server {
    /// A report came, or the socket's end: the program runs, or the child is gone.
    pub(super) fn reported(&mut self, key: Key) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let Some(report) = &process.report else {
            return;
        };
        match packet::receive::<Report>(report) {
            Ok(Some((message, mut fds))) => match message {
                Report::Ready { at, timings } => process.ready = Some((at, timings)),
                Report::Failed(failure) => process.failure = Some(failure),
                Report::Terminal => process.terminal = fds.pop(),
                Report::Listener => {
                    process.listener = fds.pop();
                    self.watch_listener(key);
                }
            },
            Ok(None) | Err(_) => {
                let report = process.report.take();
                let runs = process.ready.is_some() && process.failure.is_none();
                if let Some(report) = report {
                    self.unwatch(&report);
                }
                if runs {
                    self.announce(key);
                }
            }
        }
    }

    fn watch_listener(&mut self, key: Key) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let Some(listener) = process.listener.take() else {
            return;
        };
        if self.watch(listener.as_fd(), key, Source::Listener).is_ok()
            && let Some(process) = self.processes.get_mut(&key)
        {
            process.listener = Some(listener);
        }
    }

    /// Tells the daemon that the program runs.
    fn announce(&mut self, key: Key) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        crash_point(match &process.role {
            Role::Exec { .. } => "zygote.exec-runs",
            _ => "zygote.runs",
        });
        process.announced = true;
        let (at, mut timings) = process.ready.unwrap_or_default();
        timings.exec = Duration::from_nanos(sys::clock::now().saturating_sub(at));
        let pid = process.number();
        let (reply, is_sandbox) = match &process.role {
            Role::Blank { .. } | Role::Criu { .. } | Role::Stray => return,
            Role::Sandbox { ticket, name, .. } => (
                Reply::Spawned {
                    ticket: *ticket,
                    pid,
                    cgroup: name.clone(),
                    timings,
                },
                true,
            ),
            Role::Exec { ticket, .. } => (
                Reply::Executed {
                    ticket: *ticket,
                    pid,
                },
                false,
            ),
        };
        let terminal = process.terminal.take();
        let Ok(pidfd) = process.pidfd.try_clone() else {
            return;
        };
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(&pidfd)
            .chain(&terminal)
            .map(OwnedFd::as_fd)
            .collect();
        self.reply(&reply, &fds);
        if is_sandbox {
            self.refill();
        }
    }

    /// A notification of `listen` came, or every process with that filter has ended.
    pub(super) fn listens(&mut self, key: Key) {
        // A program that calls `listen` has been executed: that is in the report, and comes first.
        self.drain_reports(key);
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let Some(listener) = &process.listener else {
            return;
        };
        let events = ready(listener);
        // Without one pending, taking a notification would block.
        let port = if events.contains(PollFlags::IN) {
            listen::handle(listener.as_fd())
        } else {
            None
        };
        let sandbox = process.sandbox();
        if events.contains(PollFlags::HUP)
            && let Some(listener) = process.listener.take()
        {
            self.unwatch(&listener);
        }
        if let (Some(sandbox), Some(port)) = (sandbox, port)
            && self.ports.entry(sandbox).or_default().insert(port)
        {
            self.reply(&Reply::Listening { sandbox, port }, &[]);
        }
    }

    /// A child has ended.
    pub(super) fn exited(&mut self, key: Key) {
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), options);
        let (code, signal) = match status {
            Ok(None) | Err(rustix::io::Errno::INTR) => return,
            Ok(Some(status)) => match status.terminating_signal() {
                Some(signal) => (128 + signal, Some(signal)),
                None => (status.exit_status().unwrap_or(0), None),
            },
            // Not our child any more, which cannot be; ended in any case.
            Err(_) => (137, Some(libc::SIGKILL)),
        };
        // What it still had to say comes first.
        self.drain_reports(key);
        if let Some(process) = self.processes.remove(&key) {
            if process.announced {
                crash_point("zygote.ended");
            }
            self.unwatch(&process.pidfd);
            if let Some(listener) = &process.listener {
                self.unwatch(listener);
            }
            if let Some(process) = self.ended_while_dumped(key, process, code, signal) {
                self.buried(key, process, code, signal);
            }
        }
    }

    /// Reads the report to its end, which must have come.
    fn drain_reports(&mut self, key: Key) {
        while self
            .processes
            .get(&key)
            .is_some_and(|process| process.report.is_some())
        {
            self.reported(key);
        }
    }

    pub(super) fn buried(&mut self, key: Key, process: Process, code: i32, signal: Option<i32>) {
        let mut status = ExitStatus {
            code,
            signal,
            oom_killed: false,
        };
        let pid = process.number();
        let mut cpu_ns = 0;
        let ticket = match &process.role {
            Role::Blank { group, .. } => {
                self.blanks.retain(|blank| *blank != key);
                self.discard(group.clone());
                return;
            }
            Role::Criu {
                ticket,
                sandbox,
                work,
            } => {
                let outcome = match (process.failure, code) {
                    (Some(failure), _) => Err(failure),
                    (None, 0) => Ok(()),
                    (None, code) => {
                        let reason = format!("CRIU ended with code {code}");
                        Err(Failure::Criu(reason))
                    }
                };
                return self.criu_ended(*ticket, *sandbox, work, outcome);
            }
            Role::Stray => return,
            Role::Sandbox {
                ticket,
                id,
                group,
                name,
                ..
            } => {
                status.oom_killed = code != 0 && group.oom_kills() > 0;
                cpu_ns = group.usage().cpu_ns;
                self.discard(group.clone());
                if process.announced {
                    self.remember_end(*ticket, id.clone(), pid, name.clone(), status, cpu_ns);
                    crash_point("zygote.reaped");
                }
                *ticket
            }
            Role::Exec { ticket, sandbox } => {
                let group = self.group_of(*sandbox);
                status.oom_killed = signal == Some(libc::SIGKILL)
                    && group.is_some_and(|group| group.oom_kills() > 0);
                *ticket
            }
        };
        self.tickets.remove(&ticket);
        self.ports.remove(&ticket);
        let reply = if process.announced {
            Reply::Exited {
                ticket,
                status,
                cpu_ns,
            }
        } else {
            let killed = Failure::SetupKilled(signal.unwrap_or(0));
            Reply::Failed {
                ticket,
                failure: process.failure.unwrap_or(killed),
            }
        };
        self.reply(&reply, &[]);
        if !process.announced {
            self.refill();
        }
    }

    /// For the next daemon, should this one not acknowledge it.
    pub(super) fn remember_end(
        &mut self,
        ticket: Ticket,
        id: String,
        pid: u32,
        cgroup: String,
        status: ExitStatus,
        cpu_ns: u64,
    ) {
        if self.door.is_some() {
            let ended = Ended {
                id,
                pid,
                cgroup,
                status,
                cpu_ns,
            };
            self.ended.insert(ticket, ended);
        }
    }

    fn group_of(&self, sandbox: Ticket) -> Option<&SandboxGroup> {
        match &self.processes.get(self.tickets.get(&sandbox)?)?.role {
            Role::Sandbox { group, .. } => Some(group),
            _ => None,
        }
    }

    /// Removes a group, now or as soon as it is empty.
    pub(super) fn discard(&mut self, group: SandboxGroup) {
        if group.remove().is_err() {
            self.doomed.push((group, 0));
        }
    }

    /// Kills everything; the loop ends when the last child has.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.discard_stored();
        for process in self.processes.values() {
            if let Role::Sandbox { group, .. } = &process.role {
                group.thaw();
            }
            let _ = sys::signal::send(&process.pidfd, libc::SIGKILL);
        }
    }
}

/// What can be read from a descriptor right now.
fn ready(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}
