//! Receiving a captured datagram together with the address it was sent to.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Asks the kernel to report every datagram's original destination.
pub(crate) fn report_destination(socket: BorrowedFd<'_>, inet6: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, name) = if inet6 {
        (libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR)
    } else {
        (libc::SOL_IP, libc::IP_RECVORIGDSTADDR)
    };
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the option's value is an `int` that lives until the call returns, and `size` is its.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&on).cast(),
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A datagram as it was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes in the buffer.
    pub(crate) length: usize,
    /// Who sent it.
    pub(crate) source: SocketAddr,
    /// Whom it was for.
    pub(crate) destination: SocketAddr,
}

/// Room for one control message with a socket address in it, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one datagram; `WouldBlock` when there is none.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; 128]);
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`, which is plain integers.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut name).cast();
    message.msg_namelen =
        libc::socklen_t::try_from(size_of_val(&name)).map_err(io::Error::other)?;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: `message` names live, exclusively borrowed memory with its true lengths.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let source = address(&name).ok_or_else(|| io::Error::other("datagram without a source"))?;
    let destination =
        destination(&message).ok_or_else(|| io::Error::other("datagram without a destination"))?;
    Ok(Received {
        length,
        source,
        destination,
    })
}

/// The original destination among the control messages. `message` must come from `recvmsg`.
fn destination(message: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: `recvmsg` left a well-formed list of control messages of `msg_controllen` bytes in
    // the caller's buffer, which is still alive; the macros stay inside it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the macros return either null or a pointer to a whole, aligned header.
        let current = unsafe { *header };
        let size = match (current.cmsg_level, current.cmsg_type) {
            (libc::SOL_IP, libc::IP_ORIGDSTADDR) => size_of::<libc::sockaddr_in>(),
            (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => size_of::<libc::sockaddr_in6>(),
            _ => 0,
        };
        if size > 0 {
            // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
            let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel wrote a socket address of `size` bytes as this message's data,
            // and `sockaddr_storage` has room for every socket address.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    libc::CMSG_DATA(header).cast_const(),
                    std::ptr::from_mut(&mut storage).cast::<u8>(),
                    size,
                );
            }
            return address(&storage);
        }
        // SAFETY: as for `CMSG_FIRSTHDR`; `header` is a member of the same list.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address this is, and the storage is large enough
            // and aligned for every one.
            let inet = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(inet.sin_addr.s_addr.to_ne_bytes());
            Some((ip, u16::from_be(inet.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let inet = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            Some((ip, u16::from_be(inet.sin6_port)).into())
        }
        _ => None,
    }
}
