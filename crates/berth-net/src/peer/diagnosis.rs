//! The kernel's socket diagnosis: `inet_diag_req_v2` for one socket, answered by `inet_diag_msg`.

use std::io;
use std::net::SocketAddrV4;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::Entry;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;
/// Room for `inet_diag_msg` and the attributes that follow it unasked.
const ANSWER: usize = 1024;

/// The socket at `local` that is connected to `remote`. `None`: there is none, or no such
/// diagnosis (the kernel's answer is the same).
pub(super) fn find(local: SocketAddrV4, remote: SocketAddrV4) -> io::Result<Option<Entry>> {
    let socket = match Socket::new(NETLINK_SOCK_DIAG) {
        Ok(socket) => socket,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    socket.send_to(&request(local, remote), &SocketAddr::new(0, 0), 0)?;
    let mut answer = [0; ANSWER];
    // The kernel answers before `send` returns.
    let length = socket.recv(&mut &mut answer[..], libc::MSG_DONTWAIT)?;
    match parse(answer.get(..length).unwrap_or(&answer), remote) {
        Err(error) if absent(&error) => Ok(None),
        parsed => parsed,
    }
}

fn absent(error: &io::Error) -> bool {
    let absent = [
        libc::ENOENT,
        libc::EPROTONOSUPPORT,
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| absent.contains(&code))
}

fn request(local: SocketAddrV4, remote: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number, port of the sender (the kernel fills it in).
    bytes.extend([0; 8]);
    // Family, protocol, extensions, padding, states (ignored for one socket).
    bytes.extend([libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for address in [local, remote] {
        bytes.extend(address.ip().octets());
        bytes.extend([0; 12]);
    }
    // Any interface; INET_DIAG_NOCOOKIE.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// The entry in an answer, if it is about a socket connected to `remote`: when there is none the
/// kernel tells of a listener.
fn parse(answer: &[u8], remote: SocketAddrV4) -> io::Result<Option<Entry>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "short socket diagnosis");
    let word = |at: usize| -> io::Result<[u8; 4]> {
        let bytes = answer.get(at..at + 4).ok_or_else(short)?;
        bytes.try_into().map_err(|_| short())
    };
    let [kind @ .., _, _] = word(4)?;
    match u16::from_ne_bytes(kind) {
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(word(HEADER)?);
            Err(io::Error::from_raw_os_error(code.wrapping_neg()))
        }
        SOCK_DIAG_BY_FAMILY => {
            let [_, _, port @ ..] = word(HEADER + 4)?;
            let connected = u16::from_be_bytes(port) == remote.port();
            let entry = Entry {
                uid: u32::from_ne_bytes(word(HEADER + 64)?),
                inode: u32::from_ne_bytes(word(HEADER + 68)?),
            };
            Ok(connected.then_some(entry))
        }
        kind => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("socket diagnosis answered with message {kind}"),
        )),
    }
}
