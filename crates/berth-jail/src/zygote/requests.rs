//! What the daemon asks for: sandboxes, processes in them, leaving.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::children::{KeptOutput, Key, Process, Role, Source};
use super::server::Server;
use crate::child::{self, ExecRequest, Policy, Stdio};
use crate::crash_point;
use crate::error::{Failure, Step as _};
use crate::packet;
use crate::protocol::{Order, Reply, Request, Ticket};
use crate::spec::ProcessSpec;
use crate::sys::clock;
use crate::sys::clone::{self, Fork};

/// Processes prepared ahead, so that a spawn need not wait for control groups.
const BLANKS: usize = 2;

/// A fork, in the parent.
pub(super) struct Forked {
    pid: Pid,
    pidfd: OwnedFd,
    report: OwnedFd,
}

impl Server {
    /// Handles one request; failures become replies.
    pub(super) fn handle(&mut self, request: Request, fds: Vec<OwnedFd>) {
        let (ticket, outcome) = match request {
            Request::Spawn {
                ticket,
                stdin,
                disk,
                spec,
            } => {
                let order = Order {
                    stdin,
                    disk,
                    sent: clock::now(),
                    spec,
                };
                (ticket, self.spawn(ticket, order, &fds))
            }
            Request::Exec {
                ticket,
                sandbox,
                process,
                streams,
            } => (ticket, self.exec(ticket, sandbox, &process, streams, fds)),
            Request::Checkpoint {
                ticket,
                sandbox,
                criu,
            } => (ticket, self.checkpoint(ticket, sandbox, &criu)),
            Request::Restore {
                ticket,
                sandbox,
                criu,
            } => (ticket, self.restore(ticket, sandbox, &criu)),
            Request::Discard { sandbox } => return self.discard_resting(sandbox),
            Request::Deposit { name, sandbox } => {
                let known = sandbox.is_none_or(|sandbox| {
                    self.tickets.contains_key(&sandbox) || self.ended.contains_key(&sandbox)
                });
                if known {
                    self.deposits.insert((sandbox, name), fds);
                }
                return;
            }
            Request::Withdraw { name } => {
                self.deposits.remove(&(None, name));
                return;
            }
            Request::Acknowledge { sandbox } => {
                self.ended.remove(&sandbox);
                self.deposits.retain(|(of, _), _| *of != Some(sandbox));
                return;
            }
            Request::Shutdown => return self.leave(),
        };
        if let Err(failure) = outcome {
            self.reply(&Reply::Failed { ticket, failure }, &[]);
        }
    }

    fn spawn(&mut self, ticket: Ticket, order: Order, fds: &[OwnedFd]) -> Result<(), Failure> {
        crash_point("zygote.spawn");
        self.last_ticket = self.last_ticket.max(ticket);
        let spec = &order.spec;
        let id = spec.id.clone();
        let user_namespace = self
            .user_namespaces
            .get(spec.id_base)
            .step(|| format!("create a user namespace at id {}", spec.id_base))?;
        let policy = Box::new(Policy::of(spec));
        let kept_output = keep_output(&order, fds)?;
        let order = packet::encode(&order).step(|| "write an order".to_owned())?;
        let mut passed: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
        passed.insert(1.min(passed.len()), user_namespace.as_fd());
        loop {
            let (key, fresh) = match self.blanks.pop_front() {
                Some(key) => (key, false),
                None => (self.make_blank()?, true),
            };
            let Some(process) = self.processes.get_mut(&key) else {
                continue;
            };
            let Some(report) = &process.report else {
                continue;
            };
            match packet::send_encoded(report, &order, &passed) {
                // A blank that died while it waited.
                Err(_) if !fresh => continue,
                other => other.step(|| "hand over an order".to_owned())?,
            }
            if let Role::Blank { group, name } = &process.role {
                process.role = Role::Sandbox {
                    ticket,
                    id,
                    group: group.clone(),
                    name: name.clone(),
                    policy,
                    user_namespace: Rc::clone(&user_namespace),
                    kept_output,
                };
            }
            self.tickets.insert(ticket, key);
            crash_point("zygote.ordered");
            return Ok(());
        }
    }

    /// Prepares blanks while nothing is being started.
    pub(super) fn refill(&mut self) {
        let starting = |process: &Process| {
            let starts = matches!(process.role, Role::Sandbox { .. } | Role::Exec { .. });
            !process.announced && starts
        };
        if self.leaving || self.processes.values().any(starting) {
            return;
        }
        while self.blanks.len() < BLANKS {
            match self.make_blank() {
                Ok(key) => self.blanks.push_back(key),
                Err(_) => return,
            }
        }
    }

    fn make_blank(&mut self) -> Result<Key, Failure> {
        let name = format!("s{}", self.last_key + 1);
        let group = self.session.sandbox(&name);
        let filter = self.filter.clone();
        let in_child = group.clone();
        let forked = fork(libc::CLONE_NEWPID, |report| {
            child::become_sandbox(&filter, &in_child, report)
        })
        .step(|| "fork".to_owned())?;
        self.register(forked, Role::Blank { group, name })
    }

    fn exec(
        &mut self,
        ticket: Ticket,
        sandbox: Ticket,
        process: &ProcessSpec,
        streams: [bool; 3],
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        crash_point("zygote.exec");
        self.last_ticket = self.last_ticket.max(ticket);
        let running = self
            .tickets
            .get(&sandbox)
            .and_then(|key| self.processes.get(key));
        let Some(init) = running.filter(|process| process.announced) else {
            return Err(Failure::Gone);
        };
        let Role::Sandbox {
            group,
            policy,
            user_namespace,
            ..
        } = &init.role
        else {
            return Err(Failure::Gone);
        };
        if group.is_frozen() {
            return Err(Failure::Frozen);
        }
        let mut fds = fds.into_iter();
        let mut next = |present: bool| if present { fds.next() } else { None };
        let streams = Stdio {
            stdin: next(streams[0]),
            stdout: next(streams[1]),
            stderr: next(streams[2]),
        };
        let request = ExecRequest {
            filter: &self.filter,
            group,
            sandbox: init.pidfd.as_fd(),
            user_namespace: user_namespace.as_fd(),
            process,
            streams,
            policy,
        };
        let forked = self.fork_inside(init.pidfd.as_fd(), |report| {
            child::become_exec(&request, &report)
        })?;
        let key = self.register(forked, Role::Exec { ticket, sandbox })?;
        self.tickets.insert(ticket, key);
        Ok(())
    }

    /// Forks a child into the pid namespace of `init`.
    fn fork_inside(
        &self,
        init: BorrowedFd<'_>,
        run: impl FnOnce(OwnedFd),
    ) -> Result<Forked, Failure> {
        let entered =
            rustix::thread::move_into_thread_name_spaces(init, ThreadNameSpaceType::PROCESS_ID);
        match entered {
            Err(rustix::io::Errno::SRCH) => return Err(Failure::Gone),
            other => other.step(|| "enter the container's pid namespace".to_owned())?,
        }
        let forked = fork(0, run).step(|| "fork".to_owned());
        // Cannot fail for a namespace that one is in; if it did, later children would be lost.
        let back = rustix::thread::move_into_link_name_space(
            self.own_pid_namespace.as_fd(),
            Some(LinkNameSpaceType::ProcessID),
        );
        if back.is_err() {
            clone::exit_now(1);
        }
        match forked {
            // No fork in a namespace whose init is dying.
            Err(Failure::Setup {
                errno: libc::ENOMEM,
                ..
            }) => Err(Failure::Gone),
            other => other,
        }
    }

    pub(super) fn register(&mut self, forked: Forked, role: Role) -> Result<Key, Failure> {
        let Forked { pid, pidfd, report } = forked;
        self.last_key += 1;
        let key = self.last_key;
        self.watch(pidfd.as_fd(), key, Source::Exit)
            .and_then(|()| self.watch(report.as_fd(), key, Source::Report))
            .step(|| "watch a child".to_owned())?;
        self.processes.insert(
            key,
            Process {
                pid,
                pidfd,
                role,
                report: Some(report),
                listener: None,
                terminal: None,
                ready: None,
                failure: None,
                announced: false,
            },
        );
        Ok(key)
    }
}

/// The writing ends of a sandbox's output, which outlive its processes when it is written to disk; or
/// why it cannot be.
fn keep_output(order: &Order, fds: &[OwnedFd]) -> Result<KeptOutput, Failure> {
    let spec = &order.spec;
    if !spec.extras.checkpointable {
        return Ok(Err("it was not started for that"));
    }
    if spec.capabilities.iter().any(|name| name == "CAP_SYS_ADMIN") {
        return Ok(Err("it may mount file systems (CAP_SYS_ADMIN)"));
    }
    if spec.extras.init {
        // Its code is a file of the host's.
        return Ok(Err(
            "its first process is one of Berth's own, as compatibility dates before 2026-04-01 have it",
        ));
    }
    // The network namespace comes first, then standard input if there is one.
    let output = fds.iter().skip(1 + usize::from(order.stdin)).take(2);
    let copies: io::Result<Vec<OwnedFd>> = output.map(OwnedFd::try_clone).collect();
    copies.map(Ok).step(|| "copy a descriptor".to_owned())
}

/// Forks; the child gets its end of the report socket and never returns.
pub(super) fn fork(flags: libc::c_int, run: impl FnOnce(OwnedFd)) -> io::Result<Forked> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match clone::fork(flags)? {
        Fork::Child => {
            run(theirs);
            clone::exit_now(1)
        }
        Fork::Parent { pid, pidfd } => Ok(Forked {
            pid,
            pidfd,
            report: ours,
        }),
    }
}
