//! /dev: a small tmpfs with the devices every program expects, terminals, shared memory, queues.
//!
//! Invariant: nothing in it comes from the image or the host, so a device found through
//! [`Device`] is the one made here.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::mount::MountAttrFlags;

use super::mounts::{part, pseudo_fs, tmpfs};
use super::overlay::attach;
use super::root::Root;
use crate::error::{Failure, Step as _};
use crate::spec::SandboxSpec;

/// Bytes that device nodes and links may take.
const DEV_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of the injected files.
const STAGING_BYTES: u64 = 64 * 1024 * 1024;
/// Group `tty` in every distribution.
const TTY_GROUP: u32 = 5;

/// Name, major and minor number of the character devices.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Symbolic links and what they name.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The mounted /dev, and a tmpfs that [`finish`] hides: the home of injected files.
pub(super) struct Device {
    dev: OwnedFd,
    staging: OwnedFd,
}

impl Device {
    /// Where files are written before they are bind-mounted.
    pub(super) fn staging(&self) -> BorrowedFd<'_> {
        self.staging.as_fd()
    }

    /// A detached mount of the null device.
    pub(super) fn null(&self) -> rustix::io::Result<OwnedFd> {
        part(self.dev.as_fd(), "null")
    }

    /// A detached mount of an empty directory.
    pub(super) fn empty(&self) -> rustix::io::Result<OwnedFd> {
        part(self.staging.as_fd(), "empty")
    }
}

/// Mounts /dev with everything but the message queues.
pub(super) fn mount(root: &Root, spec: &SandboxSpec) -> Result<Device, Failure> {
    let id_base = spec.id_base;
    let dev = tmpfs(DEV_BYTES, "755", id_base)?;
    attach(&dev, &root.plain_directory("dev")?, || {
        "mount `/dev`".to_owned()
    })?;
    let more = spec.extras.devices.iter().map(|device| {
        let (major, minor) = device.number();
        (device.name(), major, minor)
    });
    for (name, major, minor) in NODES.into_iter().chain(more) {
        rustix::fs::mknodat(
            &dev,
            name,
            FileType::CharacterDevice,
            Mode::from(0o666),
            makedev(major, minor),
        )
        .step(|| format!("create `/dev/{name}`"))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).step(|| format!("create `/dev/{name}`"))?;
    }
    mount_below(&dev, "pts", &terminals(id_base)?)?;
    let shm = tmpfs(spec.shm_bytes, "1777", id_base)?;
    restrict(&shm)?;
    mount_below(&dev, "shm", &shm)?;
    let staging = tmpfs(STAGING_BYTES, "755", id_base)?;
    restrict(&staging)?;
    mount_below(&dev, "mqueue", &staging)?;
    rustix::fs::mkdirat(&staging, "empty", Mode::from(0o755))
        .step(|| "create the empty directory".to_owned())?;
    Ok(Device { dev, staging })
}

/// Covers the staging file system with the message queues.
pub(super) fn finish(device: &Device) -> Result<(), Failure> {
    let queues = pseudo_fs("mqueue", &[], no_exec())?;
    let place = open_directory(&device.dev, "mqueue")?;
    attach(&queues, &place, || "mount `/dev/mqueue`".to_owned())
}

fn terminals(id_base: u32) -> Result<OwnedFd, Failure> {
    let group = (id_base + TTY_GROUP).to_string();
    let options = [
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", group.as_str()),
    ];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    pseudo_fs("devpts", &options, flags)
}

fn no_exec() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

fn restrict(mount: &OwnedFd) -> Result<(), Failure> {
    let attributes = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    crate::sys::mount::add_attributes(mount, attributes)
        .step(|| "restrict a memory file system".to_owned())
}

fn mount_below(dev: &OwnedFd, name: &str, mount: &OwnedFd) -> Result<(), Failure> {
    rustix::fs::mkdirat(dev, name, Mode::from(0o755)).step(|| format!("create `/dev/{name}`"))?;
    attach(mount, &open_directory(dev, name)?, || {
        format!("mount `/dev/{name}`")
    })
}

fn open_directory(dev: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dev, name, flags, Mode::empty()).step(|| format!("open `/dev/{name}`"))
}
