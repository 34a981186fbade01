//! How the next daemon gets in: a socket in the state directory, for root only.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::children::Role;
use super::server::Server;
use crate::packet;
use crate::protocol::{PROTOCOL, Reply, Ticket};
use crate::spec::ExitStatus;

/// A listening socket with a name, which goes with it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: OwnedFd,
    path: PathBuf,
    /// How long nobody may be connected; then everything ends.
    pub(super) patience: Duration,
}

impl Door {
    /// Listens at `path`, in place of what a dead zygote left there.
    pub(super) fn open(path: PathBuf, patience: Duration) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = with_short_path(&path, |address| rustix::net::bind(&listener, address));
        rustix::process::umask(before);
        bound?;
        rustix::net::listen(&listener, 8)?;
        Ok(Self {
            listener,
            path,
            patience,
        })
    }

    /// Who knocked, if it was somebody who may come in.
    fn answer(&self) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let peer = rustix::net::accept_with(&self.listener, flags).ok()?;
        let who = rustix::net::sockopt::socket_peercred(&peer).ok()?;
        (who.uid == rustix::process::geteuid()).then_some(peer)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Calls `with` with the address of a socket however long its path is: by a descriptor of its
/// directory.
pub(crate) fn with_short_path<T>(
    path: &Path,
    with: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
) -> io::Result<T> {
    use std::os::fd::AsRawFd as _;
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let (directory, name) = path.parent().zip(path.file_name()).ok_or_else(invalid)?;
    let directory = rustix::fs::open(
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    Ok(with(&SocketAddrUnix::new(short)?)?)
}

/// A sandbox that has ended while nobody, or before anybody, took note of it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) cgroup: String,
    pub(super) status: ExitStatus,
    /// CPU time that it had used, in nanoseconds.
    pub(super) cpu_ns: u64,
}

impl Server {
    /// Somebody knocks.
    pub(super) fn knocked(&mut self) {
        let Some(peer) = self.door.as_ref().and_then(Door::answer) else {
            return;
        };
        // The end of the daemon before may not have been noticed yet.
        self.read_requests();
        if self.control.is_some() || self.leaving {
            let _ = packet::send(&peer, &Reply::Busy, &[]);
            return;
        }
        if self.listen_to(peer.as_fd()).is_ok() {
            self.control = Some(peer);
            self.alone_since = None;
            self.greet(crate::crash::spoken_protocol(PROTOCOL));
        }
    }

    /// Tells a daemon everything there is.
    pub(super) fn greet(&mut self, protocol: u32) {
        let capabilities = self.session.capabilities();
        let hello = Reply::Hello {
            protocol,
            capabilities,
            last_ticket: self.last_ticket,
        };
        self.reply(&hello, &[]);
        for (reply, pidfd) in self.living() {
            self.reply(&reply, &[pidfd.as_fd()]);
        }
        let ended: Vec<Reply> = self
            .ended
            .iter()
            .map(|(ticket, ended)| survivor(*ticket, ended))
            .collect();
        for reply in ended {
            self.reply(&reply, &[]);
        }
        let deposits = std::mem::take(&mut self.deposits);
        for ((sandbox, name), fds) in &deposits {
            let fds: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
            let deposited = Reply::Deposited {
                name: name.clone(),
                sandbox: *sandbox,
            };
            self.reply(&deposited, &fds);
        }
        self.deposits = deposits;
        self.reply(&Reply::Greeted, &[]);
    }

    fn living(&self) -> Vec<(Reply, OwnedFd)> {
        let announced = self.processes.values().filter(|process| process.announced);
        announced
            .filter_map(|process| {
                let Role::Sandbox {
                    ticket, id, name, ..
                } = &process.role
                else {
                    return None;
                };
                let ports = self.ports.get(ticket);
                let reply = Reply::Survivor {
                    ticket: *ticket,
                    id: id.clone(),
                    pid: process.number(),
                    cgroup: name.clone(),
                    ports: ports.into_iter().flatten().copied().collect(),
                    ended: None,
                    cpu_ns: 0,
                };
                Some((reply, process.pidfd.try_clone().ok()?))
            })
            .collect()
    }
}

fn survivor(ticket: Ticket, ended: &Ended) -> Reply {
    Reply::Survivor {
        ticket,
        id: ended.id.clone(),
        pid: ended.pid,
        cgroup: ended.cgroup.clone(),
        ports: Vec::new(),
        ended: Some(ended.status),
        cpu_ns: ended.cpu_ns,
    }
}
