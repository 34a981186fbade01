//! Packets with descriptors over `SOCK_SEQPACKET` sockets: between daemon and zygote, and between
//! the zygote and its children.
//!
//! Invariants: one packet is one JSON value; a body too large for a packet travels in a memory file
//! that comes as the last descriptor. Received descriptors are close-on-exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the largest body that travels inside its packet; safely below the default send buffer.
const INLINE_LIMIT: usize = 64 * 1024;
/// Descriptors in one packet.
const FDS_LIMIT: usize = 8;
/// First byte of a packet whose body follows.
const INLINE: u8 = 0;
/// First byte of a packet whose body is in the last descriptor.
const IN_MEMORY_FILE: u8 = 1;

/// Encodes `message`, ready for [`send_encoded`].
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![INLINE];
    serde_json::to_writer(&mut bytes, message)?;
    Ok(bytes)
}

/// Sends one message. `WouldBlock` on a non-blocking socket whose buffer is full.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_encoded(socket, &encode(message)?, fds)
}

/// Sends what [`encode`] made.
pub(crate) fn send_encoded(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if bytes.len() <= INLINE_LIMIT {
        return send_raw(socket, bytes, fds);
    }
    let file = rustix::fs::memfd_create("berth-packet", MemfdFlags::CLOEXEC)?;
    let mut rest = bytes.get(1..).unwrap_or_default();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    let mut all = fds.to_vec();
    all.push(file.as_fd());
    send_raw(socket, &[IN_MEMORY_FILE], &all)
}

fn send_raw(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_LIMIT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(
            socket.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// Receives one message; `None` when the other side has closed.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0_u8; INLINE_LIMIT + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_LIMIT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let body = match buffer.get(..received.bytes).and_then(<[u8]>::split_first) {
        None => return Ok(None),
        Some((&INLINE, body)) => return Ok(Some((serde_json::from_slice(body)?, fds))),
        Some(_) => fds
            .pop()
            .ok_or_else(|| io::Error::other("a packet came without its memory file"))?,
    };
    let mut file = std::fs::File::from(body);
    io::Seek::rewind(&mut file)?;
    Ok(Some((
        serde_json::from_reader(io::BufReader::new(file))?,
        fds,
    )))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::{receive, send};

    #[test]
    fn small_and_large_messages_arrive_with_their_descriptors() {
        let (left, right) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        for length in [0, 10, 64 * 1024, 3 * 1024 * 1024] {
            let text = "x".repeat(length);
            send(&left, &text, &[left.as_fd(), right.as_fd()]).unwrap();
            let (received, fds): (String, _) = receive(&right).unwrap().unwrap();
            assert_eq!(received, text);
            assert_eq!(fds.len(), 2);
        }
        drop(left);
        assert!(receive::<String>(&right).unwrap().is_none());
    }
}
