//! Loop devices: a file as a block device (`/dev/loop-control`, `LOOP_CONFIGURE`).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use super::check;

/// `LOOP_CTL_GET_FREE` of linux/loop.h.
const GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE`, Linux 5.8 and newer.
const CONFIGURE: libc::Ioctl = 0x4C0A;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file when nobody uses the device any more.
const AUTOCLEAR: u32 = 4;
/// Bytes of a block, as of the file systems that are put on it.
const BLOCK_SIZE: u32 = 4096;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The number of a device that is free right now; one is made if there is none.
pub(crate) fn free_number(control: &File) -> io::Result<i64> {
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) }.into())
}

/// Makes `device` show the content of `file` until its last user is gone. `EBUSY`: somebody else
/// has taken the device meanwhile.
pub(crate) fn attach(device: &File, file: impl AsFd) -> io::Result<()> {
    let file: BorrowedFd<'_> = file.as_fd();
    // SAFETY: the structure is plain integers, for which zero is a value.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(file.as_raw_fd()).unwrap_or(u32::MAX);
    config.block_size = BLOCK_SIZE;
    config.info.flags = AUTOCLEAR;
    // SAFETY: `config` is a live loop_config; the kernel only reads it.
    check(unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) }.into())?;
    Ok(())
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);
