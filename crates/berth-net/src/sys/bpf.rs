//! The four `bpf(2)` commands that capturing sockets takes, with typed arguments.
//!
//! The attribute layouts are the kernel's `union bpf_attr` (include/uapi/linux/bpf.h) cut after the
//! last field in use: the kernel takes shorter attributes and reads the rest as zero.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;

const BPF_MAP_TYPE_SOCKMAP: u32 = 15;
const BPF_PROG_TYPE_SK_LOOKUP: u32 = 30;
const BPF_SK_LOOKUP: u32 = 36;

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    /// Operation and class.
    pub(crate) code: u8,
    /// Destination register in the low half, source register in the high half (little endian).
    pub(crate) regs: u8,
    /// Jump distance or memory offset.
    pub(crate) off: i16,
    /// Immediate value.
    pub(crate) imm: i32,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// Calls `bpf(2)`.
///
/// # Safety
///
/// `T` must be the kernel's layout for `command`, without uninitialised bytes, and every address
/// inside it must be valid for what the command reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    let size = libc::c_uint::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `attr` is a live exclusive borrow of `size` bytes; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

fn number(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value).addr() as u64
}

/// Makes a map from small numbers (`0..entries`) to sockets.
pub(crate) fn create_sockmap(entries: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: BPF_MAP_TYPE_SOCKMAP,
        key_size: 4,
        value_size: 8,
        max_entries: entries,
    };
    // SAFETY: the layout is that of `BPF_MAP_CREATE`, which has no addresses in it.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attr)? };
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a listening TCP socket or a bound UDP socket into a sockmap. The map does not keep the
/// socket open: closing it removes the entry.
pub(crate) fn set_socket(map: BorrowedFd<'_>, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = u64::from(number(socket)?);
    let mut attr = MapUpdate {
        map_fd: number(map)?,
        key: address(&key),
        value: address(&value),
        ..MapUpdate::default()
    };
    // SAFETY: the layout is that of `BPF_MAP_UPDATE_ELEM`; `key` (4 bytes) and `value` (8 bytes)
    // have the sizes the map was made with and live until the call returns.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr)? };
    Ok(())
}

/// Verifies and loads a socket-lookup program.
pub(crate) fn load_sk_lookup(instructions: &[Insn]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_SK_LOOKUP,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        prog_name: *b"berth_capture\0\0\0",
        expected_attach_type: BPF_SK_LOOKUP,
        ..ProgLoad::default()
    };
    // SAFETY: the layout is that of `BPF_PROG_LOAD`; `insns` is `insn_cnt` instructions of the
    // kernel's layout, `license` ends with a NUL, both outlive the call, and no log is asked for.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr)? };
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs `program` for every socket lookup of a network namespace, until the link is closed.
pub(crate) fn attach_sk_lookup(
    program: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: number(program)?,
        target_fd: number(namespace)?,
        attach_type: BPF_SK_LOOKUP,
        flags: 0,
    };
    // SAFETY: the layout is that of `BPF_LINK_CREATE`, which has no addresses in it.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr)? };
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
