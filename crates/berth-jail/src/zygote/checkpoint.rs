//! Sandboxes on their way to disk and back: CRIU's runs, and what is kept in between.
//!
//! ```text
//!  lives ──Checkpoint──▶ Dumping ──CRIU and the first process have ended──▶ Stored
//!    ▲                     │ CRIU failed: lives on, thawed                    │
//!    └──────────────────── Restoring ◀─────────────Restore───────────────────┘
//!                            │ CRIU failed
//!                            ▼ Exited
//! ```
//!
//! Invariants: a sandbox is reported as exited once, whatever its processes did meanwhile; what CRIU
//! leaves behind when it fails is killed and reaped; its groups go when it has ended, not before.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType;

use super::children::{Key, Process, Role, Source};
use super::requests::fork;
use super::server::Server;
use super::user_namespace::MAPPED_IDS;
use crate::cgroup::SandboxGroup;
use crate::child::Policy;
use crate::child::criu::{self, Kept};
use crate::crash_point;
use crate::error::{Failure, Step as _};
use crate::protocol::{Reply, Ticket};
use crate::spec::{Criu, ExitStatus};
use crate::sys;

/// A sandbox that does not simply live.
#[derive(Debug)]
pub(super) struct Resting {
    phase: Phase,
    kept: Kept,
    id: String,
    group: SandboxGroup,
    name: String,
    policy: Box<Policy>,
    /// Pid of its first process, as long as it had one.
    pid: u32,
}

#[derive(Debug)]
enum Phase {
    /// `ended`: the first process has, with this code and signal.
    Dumping {
        written: bool,
        ended: Option<(Key, Box<Process>, i32, Option<i32>)>,
        ticket: Ticket,
    },
    Stored,
    Restoring {
        images: PathBuf,
    },
}

/// Which of the two CRIU does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Dump,
    Restore { criu: Criu },
}

impl Server {
    pub(super) fn checkpoint(
        &mut self,
        ticket: Ticket,
        sandbox: Ticket,
        criu: &Criu,
    ) -> Result<(), Failure> {
        crash_point("zygote.checkpoint");
        self.last_ticket = self.last_ticket.max(ticket);
        let executed = |process: &Process| matches!(&process.role, Role::Exec { sandbox: of, .. } if *of == sandbox);
        if self.processes.values().any(executed) {
            let reason = "a process that was executed in it is running";
            return Err(Failure::Criu(reason.to_owned()));
        }
        let living = self.tickets.get(&sandbox);
        let init = living.and_then(|key| self.processes.get(key));
        let Some(init) = init.filter(|process| process.announced) else {
            return Err(Failure::Gone);
        };
        let Role::Sandbox {
            id,
            group,
            name,
            policy,
            kept_output,
            ..
        } = &init.role
        else {
            return Err(Failure::Gone);
        };
        if self.resting.contains_key(&sandbox) {
            return Err(Failure::Gone);
        }
        let output = kept_output.as_ref();
        let output = output.map_err(|reason| Failure::Criu((*reason).to_owned()))?;
        let pid = init.number();
        let kept = keep(pid, output, policy)?;
        let forked = fork(0, |report| {
            criu::become_dump(criu, group, init.pidfd.as_fd(), pid, &kept, &report)
        });
        let resting = Resting {
            phase: Phase::Dumping {
                written: false,
                ended: None,
                ticket,
            },
            kept,
            id: id.clone(),
            group: group.clone(),
            name: name.clone(),
            policy: policy.clone(),
            pid,
        };
        let forked = forked.step(|| "fork".to_owned())?;
        let work = Work::Dump;
        let key = self.register(
            forked,
            Role::Criu {
                ticket,
                sandbox,
                work,
            },
        )?;
        self.tickets.insert(ticket, key);
        self.resting.insert(sandbox, resting);
        crash_point("zygote.dumping");
        Ok(())
    }

    pub(super) fn restore(
        &mut self,
        ticket: Ticket,
        sandbox: Ticket,
        criu: &Criu,
    ) -> Result<(), Failure> {
        crash_point("zygote.restore");
        self.last_ticket = self.last_ticket.max(ticket);
        let Some(resting) = self.resting.get_mut(&sandbox) else {
            return Err(Failure::Gone);
        };
        if !matches!(resting.phase, Phase::Stored) {
            return Err(Failure::Gone);
        }
        let filter = self.filter.clone();
        let forked = fork(0, |report| {
            criu::become_restore(criu, &resting.group, &resting.kept, &filter, &report)
        })
        .step(|| "fork".to_owned())?;
        let images = criu.images.clone();
        resting.phase = Phase::Restoring { images };
        let work = Work::Restore { criu: criu.clone() };
        let key = self.register(
            forked,
            Role::Criu {
                ticket,
                sandbox,
                work,
            },
        )?;
        self.tickets.insert(ticket, key);
        crash_point("zygote.restoring");
        Ok(())
    }

    /// Ends a sandbox on disk; one on its way there or back is ended by what it is in the middle of.
    pub(super) fn discard_resting(&mut self, sandbox: Ticket) {
        let Some(resting) = self.resting.get(&sandbox) else {
            return;
        };
        if matches!(resting.phase, Phase::Stored) {
            return self.lost(sandbox);
        }
        for process in self.processes.values() {
            let part = match &process.role {
                Role::Criu { sandbox: of, .. } => *of == sandbox,
                Role::Sandbox { ticket, .. } => *ticket == sandbox,
                _ => false,
            };
            if part {
                let _ = sys::signal::send(&process.pidfd, libc::SIGKILL);
            }
        }
    }

    /// Ends every sandbox that is on disk.
    pub(super) fn discard_stored(&mut self) {
        let stored = self.resting.iter();
        let stored: Vec<Ticket> = stored
            .filter(|(_, resting)| matches!(resting.phase, Phase::Stored))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in stored {
            self.lost(ticket);
        }
    }

    /// A sandbox's first process has ended. Gives it back unless CRIU is at work on it.
    pub(super) fn ended_while_dumped(
        &mut self,
        key: Key,
        process: Process,
        code: i32,
        signal: Option<i32>,
    ) -> Option<Process> {
        let Role::Sandbox { ticket, .. } = &process.role else {
            return Some(process);
        };
        let sandbox = *ticket;
        let Some(resting) = self.resting.get_mut(&sandbox) else {
            return Some(process);
        };
        let Phase::Dumping { written, ended, .. } = &mut resting.phase else {
            return Some(process);
        };
        let complete = *written;
        *ended = Some((key, Box::new(process), code, signal));
        if complete {
            self.stored(sandbox);
        }
        None
    }

    /// CRIU has ended.
    pub(super) fn criu_ended(
        &mut self,
        ticket: Ticket,
        sandbox: Ticket,
        work: &Work,
        outcome: Result<(), Failure>,
    ) {
        self.tickets.remove(&ticket);
        match (work, outcome) {
            (Work::Dump, Ok(())) => {
                let Some(resting) = self.resting.get_mut(&sandbox) else {
                    return;
                };
                if let Phase::Dumping { written, ended, .. } = &mut resting.phase {
                    *written = true;
                    // CRIU has killed it; its end may be in this very batch of events.
                    if ended.is_some() {
                        self.stored(sandbox);
                    }
                }
            }
            (Work::Dump, Err(failure)) => {
                self.reply(&Reply::Failed { ticket, failure }, &[]);
                let resting = self.resting.remove(&sandbox);
                if let Some(Phase::Dumping {
                    ended: Some((key, process, code, signal)),
                    ..
                }) = resting.map(|resting| resting.phase)
                {
                    self.buried(key, *process, code, signal);
                }
            }
            (Work::Restore { criu }, outcome) => {
                if let Err(failure) = outcome.and_then(|()| self.revive(ticket, sandbox, criu)) {
                    self.reply(&Reply::Failed { ticket, failure }, &[]);
                    self.kill_strays(sandbox);
                    self.lost(sandbox);
                }
            }
        }
    }

    /// Its processes are on disk and have ended.
    fn stored(&mut self, sandbox: Ticket) {
        let Some(resting) = self.resting.get_mut(&sandbox) else {
            return;
        };
        crash_point("zygote.stored");
        let phase = std::mem::replace(&mut resting.phase, Phase::Stored);
        self.tickets.remove(&sandbox);
        if let Phase::Dumping { ticket, .. } = phase {
            self.reply(&Reply::Checkpointed { ticket }, &[]);
        }
    }

    /// CRIU says that it has restored it: its first process is our child.
    fn revive(&mut self, ticket: Ticket, sandbox: Ticket, criu: &Criu) -> Result<(), Failure> {
        crash_point("zygote.restored");
        let Some(resting) = self.resting.get_mut(&sandbox) else {
            return Err(Failure::Gone);
        };
        let path = criu.images.join(criu::PID_FILE);
        let text = std::fs::read_to_string(&path);
        let text = text.step(|| format!("read `{}`", path.display()))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let foreign = || Failure::Criu("CRIU restored no process of ours".to_owned());
        let pid = pid.ok_or_else(foreign)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let pidfd = pidfd.step(|| "find the restored process".to_owned())?;
        // As long as it is our child, nobody else has its number.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), look).map_err(|_| foreign())?;
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        let namespace = std::fs::File::open(format!("/proc/{number}/ns/user"));
        let namespace = namespace.step(|| "open the restored user namespace".to_owned())?;
        let limits = &resting.kept.limits;
        if let Err(error) = resting.group.apply(limits) {
            let text = format!("limits are wider than before the restoration: {error}");
            self.reply(&Reply::Warning(text), &[]);
        }
        let Some(resting) = self.resting.remove(&sandbox) else {
            return Err(Failure::Gone);
        };
        let role = Role::Sandbox {
            ticket: sandbox,
            id: resting.id,
            group: resting.group,
            name: resting.name,
            policy: resting.policy,
            user_namespace: Rc::new(namespace.into()),
            kept_output: Ok(resting.kept.output),
        };
        let shown = pidfd.try_clone();
        let key = self.adopt(pid, pidfd, role, true)?;
        self.tickets.insert(sandbox, key);
        let reply = Reply::Restored {
            ticket,
            sandbox,
            pid: number,
        };
        if let Ok(shown) = shown {
            self.reply(&reply, &[shown.as_fd()]);
        }
        Ok(())
    }

    /// Watches a child that we did not fork.
    fn adopt(
        &mut self,
        pid: Pid,
        pidfd: OwnedFd,
        role: Role,
        announced: bool,
    ) -> Result<Key, Failure> {
        self.last_key += 1;
        let key = self.last_key;
        self.watch(pidfd.as_fd(), key, Source::Exit)
            .step(|| "watch a child".to_owned())?;
        let process = Process {
            pid,
            pidfd,
            role,
            report: None,
            listener: None,
            terminal: None,
            ready: None,
            failure: None,
            announced,
        };
        self.processes.insert(key, process);
        Ok(key)
    }

    /// It was on disk and will not live again.
    fn lost(&mut self, sandbox: Ticket) {
        let Some(resting) = self.resting.remove(&sandbox) else {
            return;
        };
        self.tickets.remove(&sandbox);
        self.ports.remove(&sandbox);
        let status = ExitStatus {
            code: 128 + libc::SIGKILL,
            signal: Some(libc::SIGKILL),
            oom_killed: false,
        };
        let cpu_ns = resting.group.usage().cpu_ns;
        self.discard(resting.group);
        self.remember_end(
            sandbox,
            resting.id,
            resting.pid,
            resting.name,
            status,
            cpu_ns,
        );
        self.reply(
            &Reply::Exited {
                ticket: sandbox,
                status,
                cpu_ns,
            },
            &[],
        );
    }

    /// A child has ended: if it is one that is being restored CRIU must be told, in its own way. Being
    /// its sibling and not its parent, it would wait for ever.
    pub(super) fn restored_died(&mut self) {
        let restoring = |resting: &Resting| matches!(resting.phase, Phase::Restoring { .. });
        if !self.resting.values().any(restoring) {
            return;
        }
        for pid in self.unknown_children() {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let ended = rustix::process::waitid(WaitId::Pid(pid), look);
            if !matches!(ended, Ok(Some(_))) {
                continue;
            }
            // No two sandboxes share ids.
            let Some(uid) = user_of(pid) else { continue };
            let owner = self.resting.iter().find(|(_, resting)| {
                let base = resting.kept.id_base;
                (base..base.saturating_add(MAPPED_IDS)).contains(&uid)
            });
            let Some((sandbox, resting)) = owner else {
                continue;
            };
            let Phase::Restoring { images } = &resting.phase else {
                continue;
            };
            if images.join(criu::PID_FILE).exists() {
                // It was restored, and has ended since.
                continue;
            }
            let sandbox = *sandbox;
            for process in self.processes.values_mut() {
                if matches!(&process.role, Role::Criu { sandbox: of, .. } if *of == sandbox) {
                    let reason = "a process died while it was restored";
                    process.failure = Some(Failure::Criu(reason.to_owned()));
                    let _ = sys::signal::send(&process.pidfd, libc::SIGKILL);
                }
            }
        }
    }

    /// Children that somebody else forked for us.
    fn unknown_children(&self) -> Vec<Pid> {
        let known: Vec<Pid> = self.processes.values().map(|process| process.pid).collect();
        let own = rustix::process::getpid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
        let children = children.unwrap_or_default();
        let pids = children.split_whitespace();
        pids.filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
            .filter(|pid| !known.contains(pid))
            .collect()
    }

    /// Kills what a failed restoration has left: the sandbox's processes, which are our children or
    /// CRIU's, and are in its groups.
    fn kill_strays(&mut self, sandbox: Ticket) {
        if let Some(resting) = self.resting.get(&sandbox) {
            resting.group.kill();
        }
        let others = self.resting.iter().any(|(other, resting)| {
            *other != sandbox && matches!(resting.phase, Phase::Restoring { .. })
        });
        let base = self.resting.get(&sandbox).map(|it| it.kept.id_base);
        for pid in self.unknown_children() {
            // One that died before it had an id of the sandbox's may be another restoration's; then
            // it is left to the next who looks.
            let own = base
                .zip(user_of(pid))
                .is_some_and(|(base, uid)| (base..base.saturating_add(MAPPED_IDS)).contains(&uid));
            if !own && others {
                continue;
            }
            // Our own child: until it is reaped its number is its own.
            if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                let _ = sys::signal::send(&pidfd, libc::SIGKILL);
                let _ = self.adopt(pid, pidfd, Role::Stray, false);
            }
        }
    }
}

/// The real user id of a process, as the host has it.
fn user_of(pid: Pid) -> Option<u32> {
    let number = pid.as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{number}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Takes what must outlive the processes.
fn keep(pid: u32, output: &[OwnedFd], policy: &Policy) -> Result<Kept, Failure> {
    let open = |name: &str| {
        let file = std::fs::File::open(format!("/proc/{pid}/ns/{name}"));
        file.map(OwnedFd::from)
            .step(|| format!("open the container's namespace `{name}`"))
    };
    let output: std::io::Result<Vec<OwnedFd>> = output.iter().map(OwnedFd::try_clone).collect();
    Ok(Kept {
        mount_namespace: open("mnt")?,
        namespaces: vec![
            (LinkNameSpaceType::Network, open("net")?),
            (LinkNameSpaceType::InterProcessCommunication, open("ipc")?),
            (LinkNameSpaceType::HostNameAndNISDomainName, open("uts")?),
            (LinkNameSpaceType::ControlGroup, open("cgroup")?),
        ],
        mounts: external_mounts(pid)?,
        output: output.step(|| "copy a descriptor".to_owned())?,
        limits: policy.limits,
        id_base: policy.id_base,
    })
}

/// Mount points that CRIU need not know: all but the root and /proc, which it mounts itself, with the
/// parts of it that are mounted read-only.
fn external_mounts(pid: u32) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"));
    let text = text.step(|| "read the container's mounts".to_owned())?;
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(path), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else {
            continue;
        };
        if path == "/" || kind == "proc" || mounts.iter().any(|known| known == path) {
            continue;
        }
        if path.contains(['\\', '[', ']', ':']) {
            let reason = format!("CRIU cannot be told of the mount point `{path}`");
            return Err(Failure::Criu(reason));
        }
        mounts.push(path.to_owned());
    }
    Ok(mounts)
}
