//! The event loop: the daemon's socket, the children's pidfds, their reports, their `listen` calls.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{Timespec, epoll};

use super::checkpoint::Resting;
use super::children::{Key, Process, Role, Source};
use super::door::{Door, Ended};
use super::user_namespace::UserNamespaces;
use crate::cgroup::{SandboxGroup, Session};
use crate::packet;
use crate::protocol::{PROTOCOL, Reply, Ticket};
use crate::seccomp::Filter;
use crate::sys;

/// The daemon's socket in the epoll set; no child has this key.
const CONTROL: u64 = 0;
/// The socket that the next daemon knocks at; no child has this key.
const DOOR: u64 = 1;
/// A child has ended; no child has this key.
const CHILDREN: u64 = 2;
/// Events taken at a time.
const BATCH: usize = 64;
/// How soon a group that was busy is tried again.
const BUSY_GROUP_RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};
/// Tries before a busy group is given up to the next session's sweep: 5 s.
const BUSY_GROUP_TRIES: u32 = 1000;

/// The zygote's state.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) epoll: OwnedFd,
    children_ended: OwnedFd,
    /// `None`: no daemon is connected.
    pub(super) control: Option<OwnedFd>,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    pub(super) session: Session,
    /// `None`: leave with the daemon.
    pub(super) door: Option<Door>,
    pub(super) leaving: bool,
    pub(super) filter: Filter,
    pub(super) own_pid_namespace: OwnedFd,
    pub(super) user_namespaces: UserNamespaces,
    pub(super) processes: HashMap<Key, Process>,
    /// What each ticket started, while it lives.
    pub(super) tickets: HashMap<Ticket, Key>,
    /// Ports already reported of each sandbox, so that a container that calls `listen` for ever
    /// does not flood the daemon.
    pub(super) ports: HashMap<Ticket, BTreeSet<u16>>,
    /// Prepared processes that wait for an order.
    /// Sandboxes on disk, or on their way there or back.
    pub(super) resting: HashMap<Ticket, Resting>,
    pub(super) blanks: VecDeque<Key>,
    pub(super) last_key: Key,
    /// Groups that could not be removed yet, and how often that was tried.
    pub(super) doomed: Vec<(SandboxGroup, u32)>,
    pub(super) last_ticket: Ticket,
    /// Ends that no daemon has acknowledged; only with a door.
    pub(super) ended: BTreeMap<Ticket, Ended>,
    /// Descriptors kept for the next daemon, until the end of the sandbox that they belong to, if any, is
    /// acknowledged.
    pub(super) deposits: BTreeMap<(Option<Ticket>, String), Vec<OwnedFd>>,
    /// Since when no daemon is connected; only with a door.
    pub(super) alone_since: Option<Instant>,
}

impl Server {
    pub(super) fn new(control: OwnedFd, session: Session, door: Option<Door>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN;
        epoll::add(&epoll, &control, epoll::EventData::new_u64(CONTROL), flags)?;
        let children_ended = sys::signal::children_ended()?;
        let data = epoll::EventData::new_u64(CHILDREN);
        epoll::add(&epoll, &children_ended, data, flags)?;
        if let Some(door) = &door {
            let data = epoll::EventData::new_u64(DOOR);
            epoll::add(&epoll, &door.listener, data, flags)?;
        }
        Ok(Self {
            epoll,
            children_ended,
            control: Some(control),
            outbox: VecDeque::new(),
            session,
            door,
            leaving: false,
            filter: Filter::compile(),
            own_pid_namespace: std::fs::File::open("/proc/self/ns/pid")?.into(),
            user_namespaces: UserNamespaces::default(),
            processes: HashMap::new(),
            tickets: HashMap::new(),
            ports: HashMap::new(),
            resting: HashMap::new(),
            blanks: VecDeque::new(),
            last_key: 0,
            doomed: Vec::new(),
            last_ticket: 0,
            ended: BTreeMap::new(),
            deposits: BTreeMap::new(),
            alone_since: None,
        })
    }

    /// Serves until told to leave and nothing is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.greet(PROTOCOL);
        self.refill();
        let mut events = Vec::with_capacity(BATCH);
        while !(self.leaving && self.processes.is_empty() && self.doomed.is_empty()) {
            self.flush()?;
            let timeout = if self.doomed.is_empty() {
                self.patience_left()
            } else {
                Some(BUSY_GROUP_RETRY)
            };
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.dispatch(event.data.u64());
            }
            self.remove_doomed();
            self.lose_patience();
        }
        self.flush()
    }

    /// How long the next daemon may take from now on; `None`: nobody is waited for.
    fn patience_left(&self) -> Option<Timespec> {
        let (door, since) = (self.door.as_ref()?, self.alone_since?);
        if self.leaving {
            return None;
        }
        let left = door.patience.saturating_sub(since.elapsed());
        Timespec::try_from(left).ok()
    }

    /// Nobody has come for what is kept, or nothing is: it ends.
    fn lose_patience(&mut self) {
        let Some((door, since)) = self.door.as_ref().zip(self.alone_since) else {
            return;
        };
        let sandboxes = self.processes.values();
        let mut sandboxes = sandboxes.filter(|one| matches!(one.role, Role::Sandbox { .. }));
        let nothing = sandboxes.next().is_none() && self.ended.is_empty();
        if !self.leaving && (nothing || since.elapsed() >= door.patience) {
            self.leave();
        }
    }

    fn dispatch(&mut self, token: u64) {
        match token {
            CONTROL => return self.read_requests(),
            DOOR => return self.knocked(),
            CHILDREN => {
                // One signal may stand for many; the children are looked at, not the signal.
                let mut buffer = [0_u8; 4096];
                let _ = rustix::io::read(&self.children_ended, &mut buffer);
                return self.restored_died();
            }
            _ => {}
        }
        let (key, source) = Source::of(token);
        match source {
            Source::Exit => self.exited(key),
            Source::Report => self.reported(key),
            Source::Listener => self.listens(key),
        }
    }

    /// Takes requests of this daemon from now on.
    pub(super) fn listen_to(&self, control: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(CONTROL);
        Ok(epoll::add(
            &self.epoll,
            control,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    pub(super) fn read_requests(&mut self) {
        while let Some(control) = &self.control {
            match packet::receive(control) {
                Ok(Some((request, fds))) => self.handle(request, fds),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.reply(&Reply::Warning(format!("unreadable request: {error}")), &[]);
                }
                Ok(None) | Err(_) => self.disconnected(),
            }
        }
    }

    fn disconnected(&mut self) {
        self.control = None;
        self.outbox.clear();
        if self.door.is_none() {
            return self.leave();
        }
        self.alone_since = Some(Instant::now());
        // Nobody could restore it: the next daemon does not know of it.
        self.discard_stored();
        let resting: Vec<Ticket> = self.resting.keys().copied().collect();
        for sandbox in resting {
            self.discard_resting(sandbox);
        }
        // Nobody waits for what is half-way, nor hears of what was exec'ed.
        let lost = self
            .processes
            .values()
            .filter(|process| match process.role {
                Role::Blank { .. } | Role::Criu { .. } | Role::Stray => false,
                Role::Sandbox { .. } => !process.announced,
                Role::Exec { .. } => true,
            });
        for process in lost {
            // It may have ended.
            let _ = sys::signal::send(&process.pidfd, libc::SIGKILL);
        }
    }

    /// Queues a message for the daemon; dropped when there is none.
    pub(super) fn reply(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if self.control.is_none() {
            return;
        }
        let owned: io::Result<Vec<OwnedFd>> =
            fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        if let (Ok(bytes), Ok(owned)) = (packet::encode(reply), owned) {
            self.outbox.push_back((bytes, owned));
        }
    }

    /// Sends what fits into the socket and asks for an event when more does.
    fn flush(&mut self) -> io::Result<()> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let was_waiting = !self.outbox.is_empty();
        while let Some((bytes, fds)) = self.outbox.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
            match packet::send_encoded(control, bytes, &fds) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.disconnected();
                    return Ok(());
                }
            }
        }
        if was_waiting {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, !self.outbox.is_empty());
            let data = epoll::EventData::new_u64(CONTROL);
            epoll::modify(&self.epoll, control, data, flags)?;
        }
        Ok(())
    }

    pub(super) fn watch(&self, fd: BorrowedFd<'_>, key: Key, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.token(key));
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// Ends watching. Closing is not enough: a child or the daemon may hold a second descriptor.
    pub(super) fn unwatch(&self, fd: &OwnedFd) {
        // It may never have been added.
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn remove_doomed(&mut self) {
        let mut given_up = Vec::new();
        self.doomed.retain_mut(|(group, tries)| {
            *tries += 1;
            match group.remove() {
                Ok(()) => false,
                Err(error) if *tries >= BUSY_GROUP_TRIES => {
                    given_up.push(error.to_string());
                    false
                }
                Err(_) => true,
            }
        });
        for error in given_up {
            self.reply(
                &Reply::Warning(format!("a control group could not be removed: {error}")),
                &[],
            );
        }
    }
}
