//! Whose the other end of a TCP connection over loopback is.
//!
//! The kernel's socket diagnosis is asked for the one socket with the mirrored addresses; where it
//! was not built in, `/proc/net/tcp` is read.
//!
//! Invariant: only a socket that a process still holds has an owner. An orphan (its process closed
//! it and left what it wrote behind) and one in TIME_WAIT are reported as root's by the kernel,
//! and with no inode: taken at its word, a stranger who writes and closes at once would pass.

mod diagnosis;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpStream;

/// What is known of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process holds it, and a process of this user opened it.
    User(u32),
    /// Nobody holds it any more.
    Gone,
    /// The kernel has no means to say.
    Unknown,
}

/// One entry of the kernel's: whose socket, and which inode stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    uid: u32,
    inode: u32,
}

impl Entry {
    fn peer(self) -> Peer {
        if self.inode == 0 {
            Peer::Gone
        } else {
            Peer::User(self.uid)
        }
    }
}

/// Looks up who is at the other end of a connection that a listener of ours on IPv4 loopback
/// accepted. Takes microseconds and blocks on nothing.
///
/// # Errors
///
/// When the kernel refuses a descriptor or memory: nothing is known of the peer then.
pub fn peer(stream: &TcpStream) -> io::Result<Peer> {
    /// Set once the table knew what the diagnosis did not: asking it again would make the kernel
    /// search for a module each time.
    static UNDIAGNOSED: AtomicBool = AtomicBool::new(false);

    let (Some(theirs), SocketAddr::V4(ours)) = (far_end(stream)?, stream.local_addr()?) else {
        return Ok(Peer::Gone);
    };
    let diagnosed = if UNDIAGNOSED.load(Ordering::Relaxed) {
        None
    } else {
        diagnosis::find(theirs, ours)?
    };
    let found = match diagnosed {
        Some(entry) => entry.peer(),
        None => match (far_end(stream)?, table::find(theirs, ours)?) {
            (None, _) | (_, table::Found::Nothing) => Peer::Gone,
            (_, table::Found::NoTable) => Peer::Unknown,
            (_, table::Found::Entry(entry)) => {
                UNDIAGNOSED.store(true, Ordering::Relaxed);
                entry.peer()
            }
        },
    };
    // Still connected: so nobody else can have taken the address over before the lookup.
    Ok(far_end(stream)?.map_or(Peer::Gone, |_| found))
}

/// The address of the other end; `None` once the connection was reset.
fn far_end(stream: &TcpStream) -> io::Result<Option<SocketAddrV4>> {
    match stream.peer_addr() {
        Ok(SocketAddr::V4(address)) => Ok(Some(address)),
        Ok(SocketAddr::V6(_)) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}
