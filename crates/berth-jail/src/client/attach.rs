//! Getting a connection: to a new zygote, or to one that an earlier daemon left.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::PidfdFlags;

use super::connection::{Connection, Greeting, Other, Peer};
use super::{OnDisconnect, Sandbox, ZygoteConfig};
use crate::cgroup::Session;
use crate::error::JailError;
use crate::packet;
use crate::protocol::Request;
use crate::zygote::{KEEP, KILL_ALL, ZYGOTE_ARG, with_short_path};

/// How long a helper may take to greet, and to leave when it is told to.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an earlier daemon left to this one.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Sandboxes that live, and those that have ended since, or whose end nobody acknowledged
    /// ([`Sandbox::acknowledge`]).
    pub sandboxes: Vec<Survivor>,
    /// What it left by [`super::Zygote::deposit`].
    pub deposits: Deposits,
}

/// Descriptors by their name, in the order in which they were given.
pub(super) type Deposits = BTreeMap<String, Vec<OwnedFd>>;

/// A sandbox of an earlier daemon.
#[derive(Debug)]
pub struct Survivor {
    /// The sandbox.
    pub sandbox: Sandbox,
    /// What it left by [`Sandbox::deposit`].
    pub deposits: Deposits,
}

/// Starts a zygote and connects to it.
pub(super) async fn launch(config: &ZygoteConfig) -> Result<Arc<Connection>, JailError> {
    let launch = |error: io::Error| JailError::Launch(error);
    let session = Session::open(&config.cgroup).map_err(launch)?;
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| launch(error.into()))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|error| launch(error.into()))?;
    let mut command = tokio::process::Command::new(&config.executable);
    command
        .arg0("berth-zygote")
        .args([ZYGOTE_ARG, &config.cgroup])
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null());
    match &config.on_disconnect {
        OnDisconnect::KillAll => command.arg(KILL_ALL),
        OnDisconnect::Keep { socket, patience } => command
            .arg(KEEP)
            .arg(socket)
            .arg(patience.as_secs().to_string()),
    };
    if cfg!(debug_assertions)
        && let Some(points) = std::env::var_os(berth_crash::VARIABLE)
    {
        command.env(berth_crash::VARIABLE, points);
    }
    let child = command.spawn().map_err(launch)?;
    // It has our copy of the zygote's end, which would hide the zygote's death.
    drop(command);
    let (connection, _) = Connection::open(ours, Peer::Child(child), session).await?;
    Ok(connection)
}

/// Connects to the zygote at `socket`; `None` if none lives there.
pub(super) async fn attach(
    socket: &Path,
    cgroup: &str,
) -> Result<Option<(Arc<Connection>, Survivors)>, JailError> {
    let Some((ours, peer)) = knock(socket).map_err(JailError::Launch)? else {
        return Ok(None);
    };
    let session = Session::open(cgroup).map_err(JailError::Launch)?;
    let opened = Connection::open(ours, Peer::Other(peer), session);
    let opened = tokio::time::timeout(PATIENCE, opened).await;
    let silent = |_| JailError::Launch(io::ErrorKind::TimedOut.into());
    let (connection, greeting) = opened.map_err(silent)??;
    let Greeting {
        sandboxes,
        mut deposits,
    } = greeting;
    let sandboxes = sandboxes.into_iter().map(|(id, ticket, started)| Survivor {
        sandbox: Sandbox::new(id, ticket, started, Arc::clone(&connection)),
        deposits: deposits.remove(&Some(ticket)).unwrap_or_default(),
    });
    let survivors = Survivors {
        sandboxes: sandboxes.collect(),
        deposits: deposits.remove(&None).unwrap_or_default(),
    };
    Ok(Some((connection, survivors)))
}

/// Has the zygote at `socket` kill everything and leave, whatever its version, and waits for it.
pub(super) fn end(socket: &Path) -> Result<(), JailError> {
    let end = || -> io::Result<()> {
        let Some((ours, peer)) = knock(socket)? else {
            return Ok(());
        };
        packet::send(&ours, &Request::Shutdown, &[])?;
        let flags = rustix::event::PollFlags::IN;
        let mut fds = [rustix::event::PollFd::new(&peer.pidfd, flags)];
        let timeout = rustix::event::Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        match rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    };
    end().map_err(JailError::Launch)
}

/// A connection to what listens at `socket`, and its process.
fn knock(socket: &Path) -> io::Result<Option<(OwnedFd, Other)>> {
    let ours = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match with_short_path(socket, |address| rustix::net::connect(&ours, address)) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    rustix::io::ioctl_fionbio(&ours, true)?;
    let who = rustix::net::sockopt::socket_peercred(&ours)?;
    // Whoever may write into the directory could listen there in the zygote's place.
    if who.uid != rustix::process::geteuid() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    match rustix::process::pidfd_open(who.pid, PidfdFlags::empty()) {
        Ok(pidfd) => {
            let pid = who.pid.as_raw_nonzero().get().unsigned_abs();
            Ok(Some((ours, Other { pid, pidfd })))
        }
        // It has ended since.
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
