//! A writable layer of limited size: a small file system of its own in a sparse file.
//!
//! ```text
//! DiskTemplate::make   mkfs.ext4 once per size; only the blocks that it wrote are kept (~100 KiB)
//! Disk::create         sparse file ── loop device (autoclear) ── ext4 ── detached mount
//!                                                                       ├─ upper   the container's
//!                                                                       └─ work    overlayfs'
//! ```
//!
//! Owner: whoever makes containers. The mount is never attached anywhere: it lives as a descriptor
//! here and, with ids mapped, in the container's own mount namespace. When both are gone the kernel
//! unmounts it and frees the loop device, however the processes ended; what remains is the file.
//!
//! Why not a quota: project quotas need a data directory on XFS or ext4 that is mounted for them and
//! a kernel built for them; btrfs reports `EDQUOT`, which few programs expect, and the size of the
//! whole. A file system of its own says `ENOSPC`, limits inodes as well, shows its real size in `df`,
//! and a container that breaks or fills it harms nobody else. It has no journal: nobody reads it
//! after a crash of the machine.

mod template;

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::sys::loop_device;
pub use template::DiskTemplate;

/// Tries to get a free loop device that nobody else takes first.
const ATTEMPTS: usize = 256;

/// Directories of the writable layer and of overlayfs' own, and their modes. The first one's is that
/// of `/` inside.
const DIRECTORIES: [(&str, u32); 2] = [("upper", 0o755), ("work", 0o700)];

/// No initialisation in the background, no flushes to a disk that nobody needs.
const OPTIONS: [&str; 3] = ["noinit_itable", "nobarrier", "noblock_validity"];

/// A writable layer. Dropping it leaves the file, which can be opened again.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    device: PathBuf,
    mount: OwnedFd,
}

impl Disk {
    /// Makes an empty one in the file `image`, which must not exist. Blocks for about a millisecond.
    ///
    /// # Errors
    /// The kernel's; the file is gone again.
    pub fn create(template: &DiskTemplate, image: &Path) -> io::Result<Self> {
        let made = template.write(image).and_then(|file| {
            let (device, _held) = attach(&file)?;
            let disk = Self::mounted(image, device)?;
            for (name, mode) in DIRECTORIES {
                let directory = disk.root().join(name);
                std::fs::DirBuilder::new().mode(mode).create(&directory)?;
                // Whatever the umask says.
                std::fs::set_permissions(&directory, Permissions::from_mode(mode))?;
            }
            Ok(disk)
        });
        if made.is_err() {
            // Best effort: it may not even exist.
            let _ = std::fs::remove_file(image);
        }
        made
    }

    /// Opens one that exists, also if a container that another daemon started still uses it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(image: &Path) -> io::Result<Self> {
        if let Some(device) = attached_to(image)? {
            return Self::mounted(image, device);
        }
        let file = File::options().read(true).write(true).open(image)?;
        let (device, _held) = attach(&file)?;
        Self::mounted(image, device)
    }

    fn mounted(image: &Path, device: PathBuf) -> io::Result<Self> {
        Ok(Self {
            image: image.to_owned(),
            mount: mount(&device)?,
            device,
        })
    }

    /// A further detached mount of it: for [`crate::SandboxFds::disk`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        mount(&self.device)
    }

    /// Where this process (and nobody else) sees it, for as long as `self` lives.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.mount.as_raw_fd()))
    }

    /// The writable layer, as [`Disk::root`].
    pub fn upper(&self) -> PathBuf {
        self.root().join(DIRECTORIES[0].0)
    }

    /// overlayfs' directory, as [`Disk::root`].
    pub fn work(&self) -> PathBuf {
        self.root().join(DIRECTORIES[1].0)
    }

    /// Moves the file to another name on the same file system.
    ///
    /// # Errors
    /// The kernel's; nothing has changed then.
    pub fn rename(&mut self, image: &Path) -> io::Result<()> {
        std::fs::rename(&self.image, image)?;
        image.clone_into(&mut self.image);
        Ok(())
    }

    /// Bytes in use.
    ///
    /// # Errors
    /// The kernel's.
    pub fn used_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.mount)?;
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }
}

/// Takes a free loop device for the file. The device is let go when it has no user: hold on to the
/// returned descriptor until it is mounted.
fn attach(file: &File) -> io::Result<(PathBuf, File)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    for _ in 0..ATTEMPTS {
        let path = PathBuf::from(format!("/dev/loop{}", loop_device::free_number(&control)?));
        let device = match File::options().read(true).write(true).open(&path) {
            Ok(device) => device,
            // Just removed, or in another's exclusive use.
            Err(error) if is_race(&error) => continue,
            Err(error) => return Err(error),
        };
        match loop_device::attach(&device, file) {
            Ok(()) => return Ok((path, device)),
            Err(error) if is_race(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY.into())
}

fn is_race(error: &io::Error) -> bool {
    let races = [Errno::BUSY, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| races.contains(&errno))
}

/// The device that shows this very file, if there is one.
fn attached_to(image: &Path) -> io::Result<Option<PathBuf>> {
    let wanted = std::fs::metadata(image)?;
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        let Ok(backing) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        // The kernel knows the file's present name.
        let same = std::fs::metadata(backing.trim_end_matches('\n'))
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()));
        if same {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

fn mount(device: &Path) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", device)?;
    rustix::mount::fsconfig_set_string(&context, "errors", "continue")?;
    for option in OPTIONS {
        rustix::mount::fsconfig_set_flag(&context, option)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOATIME;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

#[cfg(test)]
mod tests;
