//! The whole file-system view of a sandbox, from the host's root to the finished one.
//!
//! Invariants: what comes from the host is opened before the pivot, everything of the image is
//! looked up after it; every mount is attached by descriptor.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::root::{Kind, Root};
use super::{dev, overlay, pseudo};
use crate::cgroup::SandboxGroup;
use crate::error::{Failure, Step as _};
use crate::spec::{ExtraFile, MountSource, SandboxSpec};
use crate::sys;

/// One mount of the specification, ready to be attached.
struct Ready {
    target: String,
    kind: Kind,
    mount: OwnedFd,
}

/// Builds everything; the calling process's root is the container's afterwards.
pub(super) fn build(
    spec: &SandboxSpec,
    disk: Option<OwnedFd>,
    user_namespace: BorrowedFd<'_>,
    group: &SandboxGroup,
) -> Result<Root, Failure> {
    overlay::make_private()?;
    let mut ready = prepare(spec, user_namespace)?;
    let groups = pseudo::open_groups(group)?;
    let root_mount = overlay::enter(&spec.rootfs, disk, user_namespace)?;
    let root = Root::current()?;
    let device = dev::mount(&root, spec)?;
    pseudo::mount_proc(&root, &device)?;
    pseudo::mount_sys(&root, &device, groups)?;
    ready.extend(files(spec, &device)?);
    dev::finish(&device)?;
    // Outer mounts before the ones that lie inside them; files of ours after volumes.
    ready.sort_by_key(|mount| depth(&mount.target));
    for mount in ready {
        let target = root.target(&mount.target, mount.kind)?;
        overlay::attach(&mount.mount, &target, || {
            format!("mount `{}`", mount.target)
        })?;
    }
    if spec.rootfs.read_only {
        sys::mount::add_attributes(&root_mount, libc::MOUNT_ATTR_RDONLY)
            .step(|| "make the root read-only".to_owned())?;
    }
    Root::current()
}

/// How many directories lie between the root and a path.
pub(crate) fn depth(target: &str) -> usize {
    target.split('/').filter(|part| !part.is_empty()).count()
}

/// What a bind mount of this descriptor can be mounted on.
pub(crate) fn kind_of(tree: &OwnedFd, path: &std::path::Path) -> Result<Kind, Failure> {
    let stat = rustix::fs::fstat(tree).step(|| format!("look at `{}`", path.display()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(if directory {
        Kind::Directory
    } else {
        Kind::File
    })
}

/// Opens the sources of the specification's mounts.
fn prepare(spec: &SandboxSpec, user_namespace: BorrowedFd<'_>) -> Result<Vec<Ready>, Failure> {
    let mut ready = Vec::new();
    for mount in &spec.mounts {
        if !mount.target.starts_with('/') {
            return Err(Failure::Invalid(format!(
                "mount target `{}`: it is not absolute",
                mount.target
            )));
        }
        let (source, kind) = match &mount.source {
            MountSource::Bind(path) => {
                let tree = overlay::idmapped(path, user_namespace)?;
                let kind = kind_of(&tree, path)?;
                (tree, kind)
            }
            MountSource::Tmpfs(bytes) => (tmpfs(*bytes, "1777", spec.id_base)?, Kind::Directory),
            MountSource::Overlay(wanted) => {
                let tree = overlay::part_of(wanted, user_namespace)?;
                let kind = kind_of(&tree, std::path::Path::new(&wanted.path))?;
                (tree, kind)
            }
        };
        // Set-user-id programs of a volume work as those of the image do: both are mapped.
        let mut attributes = libc::MOUNT_ATTR_NODEV;
        if mount.read_only {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        sys::mount::add_attributes(&source, attributes)
            .step(|| format!("restrict the mount `{}`", mount.target))?;
        ready.push(Ready {
            target: mount.target.clone(),
            kind,
            mount: source,
        });
    }
    Ok(ready)
}

/// Writes the specification's files and makes a mount of each.
fn files(spec: &SandboxSpec, device: &dev::Device) -> Result<Vec<Ready>, Failure> {
    let mut ready = Vec::new();
    for (index, (path, content)) in spec.files.iter().enumerate() {
        let name = format!("file-{index}");
        let step = || format!("write `{path}`");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(device.staging(), &name, flags, Mode::from(0o644)).step(step)?;
        std::io::Write::write_all(&mut std::fs::File::from(fd), content.as_bytes()).step(step)?;
        ready.push(Ready {
            target: path.clone(),
            kind: Kind::File,
            mount: part(device.staging(), &name).step(step)?,
        });
    }
    for (index, file) in spec.extras.files.iter().enumerate() {
        ready.push(extra_file(spec, file, index, device)?);
    }
    Ok(ready)
}

/// A file with an owner, read-only.
fn extra_file(
    spec: &SandboxSpec,
    file: &ExtraFile,
    index: usize,
    device: &dev::Device,
) -> Result<Ready, Failure> {
    let name = format!("extra-{index}");
    let step = || format!("write `{}`", file.path);
    if !file.path.starts_with('/') {
        return Err(Failure::Invalid(format!("`{}` is not absolute", file.path)));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(device.staging(), &name, flags, Mode::from(0o600)).step(step)?;
    let mut written = std::fs::File::from(fd);
    std::io::Write::write_all(&mut written, &file.content).step(step)?;
    let id = |id: u32| spec.id_base.saturating_add(id);
    let (uid, gid) = (Uid::from_raw(id(file.uid)), Gid::from_raw(id(file.gid)));
    rustix::fs::fchown(&written, Some(uid), Some(gid)).step(step)?;
    rustix::fs::fchmod(&written, Mode::from(file.mode & 0o7777)).step(step)?;
    // A file that is open for writing cannot be executed.
    drop(written);
    let mount = part(device.staging(), &name).step(step)?;
    sys::mount::add_attributes(&mount, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID)
        .step(step)?;
    if file.mode & 0o111 != 0 {
        sys::mount::allow_execution(&mount).step(step)?;
    }
    Ok(Ready {
        target: file.path.clone(),
        kind: Kind::File,
        mount,
    })
}

/// A detached copy of what is at `name` in an attached mount. Symbolic links are not followed.
pub(super) fn part(mount: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    rustix::mount::open_tree(mount, name, flags)
}

/// A detached tmpfs that belongs to the container's root.
pub(super) fn tmpfs(bytes: u64, mode: &str, id_base: u32) -> Result<OwnedFd, Failure> {
    let owner = id_base.to_string();
    let size = bytes.to_string();
    let options = [
        ("size", size.as_str()),
        ("mode", mode),
        ("uid", &owner),
        ("gid", &owner),
    ];
    pseudo_fs("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)
}

/// A detached file system without a source.
pub(super) fn pseudo_fs(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Failure> {
    let step = || format!("create a {kind} file system");
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).step(step)?;
    rustix::mount::fsconfig_set_string(&context, "source", kind).step(step)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value).step(step)?;
    }
    rustix::mount::fsconfig_create(context.as_fd()).step(step)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(step)
}
