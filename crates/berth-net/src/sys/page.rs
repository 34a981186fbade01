//! A page of memory with two numbers in it that outlives this process as long as somebody has its
//! descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes that are mapped: at most one page on every machine.
const SIZE: usize = 4096;

/// The memory; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Page {
    descriptor: OwnedFd,
    at: NonNull<[AtomicU64; 2]>,
}

// SAFETY: the memory is reached through atomics only, and stays mapped until the one owner drops it.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A new one; both numbers are 0.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("berth-usage", flags)?;
        rustix::fs::ftruncate(&descriptor, SIZE as u64)?;
        // Whoever has it can rely on its size: without that, reading would raise SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&descriptor, seals)?;
        Self::map(descriptor)
    }

    /// One that another process has made.
    ///
    /// # Errors
    /// It is none, or the kernel's.
    pub(crate) fn open(descriptor: OwnedFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&descriptor)?;
        let size = rustix::fs::fstat(&descriptor)?.st_size;
        if !seals.contains(SealFlags::SHRINK) || usize::try_from(size) != Ok(SIZE) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Self::map(descriptor)
    }

    fn map(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the kernel chooses where, so nothing that is mapped is touched.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                descriptor.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { descriptor, at })
    }

    /// The numbers.
    pub(crate) fn words(&self) -> &[AtomicU64; 2] {
        // SAFETY: the mapping is page-aligned, larger than the two numbers, cannot shrink (it is sealed),
        // lives as long as `self`, and every bit pattern is a number.
        unsafe { self.at.as_ref() }
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nobody can have a reference into it any more.
        let _ = unsafe { libc::munmap(self.at.as_ptr().cast(), SIZE) };
    }
}
