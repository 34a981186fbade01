//! A container's root file system as the daemon sees it, to copy files in and out.
//!
//! Owner: the thread that [`with_root`] makes for one visit. Invariants: what is mounted for a visit
//! is mounted in that thread's own mount namespace, so it ends with the visit however that ends; a
//! running container is seen through its own mounts, never through a second overlay of the same
//! directories; the calling threads' credentials, umask and namespaces stay as they are.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

use crate::child::mounts::{depth, kind_of};
use crate::child::root::Root;
use crate::child::{identity, overlay};
use crate::client::Sandbox;
use crate::disk::Disk;
use crate::error::{Failure, JailError, Step as _};
use crate::spec::{Mount, MountSource, Rootfs};
use crate::sys;

/// Stack of a visiting thread: trees are walked recursively.
const STACK: usize = 8 << 20;

/// Whose root is visited.
#[derive(Debug)]
pub enum ContainerRoot<'a> {
    /// A container without processes: its layers and volumes are mounted for the visit. Its
    /// temporary file systems do not exist. Nobody may start it meanwhile.
    Stopped {
        /// The layers.
        rootfs: &'a Rootfs,
        /// The volumes.
        mounts: &'a [Mount],
        /// The writable layer if it is a file system of its own.
        disk: Option<&'a Disk>,
    },
    /// A living one.
    Running {
        /// The container.
        sandbox: &'a Sandbox,
        /// As in its specification.
        id_base: u32,
    },
}

/// Visits a container's root: runs `work` with the root directory and the number by which ids there
/// are higher than inside. What `work` creates belongs to the container's root user. Blocks.
///
/// # Errors
/// [`JailError::Gone`] when a running container has ended; [`JailError::Setup`].
pub fn with_root<T: Send>(
    container: &ContainerRoot<'_>,
    work: impl FnOnce(OwnedFd, u32) -> T + Send,
) -> Result<T, JailError> {
    std::thread::scope(|scope| {
        let visit = || -> Result<T, Failure> {
            let (root, id_base) = match container {
                ContainerRoot::Stopped {
                    rootfs,
                    mounts,
                    disk,
                } => (mount(rootfs, mounts, *disk)?, 0),
                ContainerRoot::Running { sandbox, id_base } => {
                    (enter(sandbox, *id_base)?, *id_base)
                }
            };
            Ok(work(root, id_base))
        };
        let thread = std::thread::Builder::new()
            .name("berth-visit".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, visit)
            .map_err(|error| JailError::setup("start a thread", error))?;
        match thread.join() {
            Ok(result) => result.map_err(JailError::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Mounts a stopped container's root in a mount namespace of this thread's own.
fn mount(rootfs: &Rootfs, mounts: &[Mount], disk: Option<&Disk>) -> Result<OwnedFd, Failure> {
    // Unsharing mounts also unshares what `umask` and `fchdir` change.
    sys::namespace::unshare(UnshareFlags::NEWNS).step(|| "create a mount namespace".to_owned())?;
    // What the host unmounts goes here, too; nothing of ours goes there.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step(|| "keep mounts from the host".to_owned())?;
    rustix::process::umask(Mode::empty());
    let disk = disk.map(Disk::mount).transpose();
    let disk = disk.step(|| "mount the disk".to_owned())?;
    let mount = overlay::mount(rootfs, disk, None)?;
    let root = Root::of(mount.try_clone().step(|| "copy a descriptor".to_owned())?);
    let mut ordered: Vec<&Mount> = mounts.iter().collect();
    ordered.sort_by_key(|mount| depth(&mount.target));
    for volume in ordered {
        let MountSource::Bind(path) = &volume.source else {
            continue;
        };
        let tree = overlay::clone_tree(path)?;
        let kind = kind_of(&tree, path)?;
        let mut attributes = libc::MOUNT_ATTR_NODEV;
        if volume.read_only {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        let step = || format!("mount `{}`", volume.target);
        sys::mount::add_attributes(&tree, attributes).step(step)?;
        overlay::attach(&tree, &root.target(&volume.target, kind)?, step)?;
    }
    reopen(&mount)
}

/// The root of a living container; this thread creates files as its root user from here on.
fn enter(sandbox: &Sandbox, id_base: u32) -> Result<OwnedFd, Failure> {
    sys::namespace::unshare(UnshareFlags::FS).step(|| "separate the thread".to_owned())?;
    rustix::process::umask(Mode::empty());
    let path = format!("/proc/{}/root", sandbox.pid());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty());
    // Only now: as long as its process is not reaped, the number in the path was its own.
    if sandbox.exit_status().is_some() || !sandbox.kill(0).unwrap_or(false) {
        return Err(Failure::Gone);
    }
    let root = opened.step(|| format!("open `{path}`"))?;
    identity::create_files_as(id_base)?;
    reopen(&root)
}

/// A descriptor that can be read, of a directory.
fn reopen(directory: &OwnedFd) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory.as_fd(), ".", flags, Mode::empty());
    opened
        .map_err(io::Error::from)
        .step(|| "open the container's root".to_owned())
}
