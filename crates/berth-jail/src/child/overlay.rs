//! The overlay root: idmapped layers, idmapped writable directory, and the move into it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::error::{Failure, Step as _};
use crate::spec::Rootfs;
use crate::sys;

/// A detached copy of a host mount's part at `path`, with ids mapped through `user_namespace`.
pub(super) fn idmapped(path: &Path, user_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(path)?;
    sys::mount::idmap(&tree, user_namespace)
        .step(|| format!("map the ids of `{}`", path.display()))?;
    Ok(tree)
}

/// A detached copy of a host mount's part at `path`.
pub(super) fn clone_tree(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).step(|| format!("open `{}`", path.display()))
}

/// Keeps later mounts from reaching the host, and the host's from reaching us.
pub(super) fn make_private() -> Result<(), Failure> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step(|| "make the mounts private".to_owned())
}

/// The detached root file system.
pub(super) fn assemble(
    rootfs: &Rootfs,
    user_namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure> {
    if rootfs.lower.is_empty() {
        // An image without layers: overlayfs insists on one, and the writable directory is all.
        return idmapped(&rootfs.upper, user_namespace);
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .step(|| "create the overlay".to_owned())?;
    // A detached mount ends with its descriptor, so all of them stay open until the overlay, which
    // takes copies, exists.
    let mut trees = Vec::with_capacity(rootfs.lower.len() + 1);
    for layer in &rootfs.lower {
        let tree = idmapped(layer, user_namespace)?;
        rustix::mount::fsconfig_set_fd(&context, "lowerdir+", tree.as_fd())
            .step(|| format!("add the layer `{}`", layer.display()))?;
        trees.push(tree);
    }
    let (upper, work, tree) = writable(rootfs, user_namespace)?;
    trees.push(tree);
    let step = || format!("use `{}` as the writable layer", rootfs.upper.display());
    rustix::mount::fsconfig_set_fd(&context, "upperdir", upper.as_fd()).step(step)?;
    rustix::mount::fsconfig_set_fd(&context, "workdir", work.as_fd()).step(step)?;
    // What an image's own attributes could redirect is not followed, and what the container
    // renames stays readable as a plain difference. The writable layer does not survive a crash
    // of the machine anyway, so syncing it (and, at unmount, its whole file system) is left out.
    for (key, value) in [
        ("source", "overlay"),
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
        ("index", "off"),
    ] {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .step(|| format!("set the overlay's `{key}`"))?;
    }
    rustix::mount::fsconfig_set_flag(&context, "volatile")
        .step(|| "set the overlay's `volatile`".to_owned())?;
    rustix::mount::fsconfig_create(&context)
        .step(|| format!("create the overlay{}", kernel_log(&context)))?;
    // An image's device nodes are never devices.
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .step(|| "create the overlay".to_owned())
}

/// What the kernel has to say about a failed mount, in brackets; empty if nothing.
fn kernel_log(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0_u8; 512];
    // One read is one message; none left is an error.
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        text.push_str(&format!(" ({})", message.trim_end()));
    }
    text
}

/// Upper and work directory, and the detached mount they are in: overlayfs wants them on one mount,
/// so their common parent is mapped.
fn writable(
    rootfs: &Rootfs,
    user_namespace: BorrowedFd<'_>,
) -> Result<(OwnedFd, OwnedFd, OwnedFd), Failure> {
    let common = common_parent(&rootfs.upper, &rootfs.work).ok_or_else(|| {
        Failure::Invalid("root file system: upper and work have no common parent".to_owned())
    })?;
    // Left by an earlier volatile mount of the same directories; overlayfs refuses it otherwise.
    let _ = std::fs::remove_dir_all(rootfs.work.join("work/incompat"));
    let tree = idmapped(common, user_namespace)?;
    let open = |path: &Path| {
        let relative = path.strip_prefix(common).unwrap_or(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&tree, relative, flags, Mode::empty())
            .step(|| format!("open `{}`", path.display()))
    };
    let (upper, work) = (open(&rootfs.upper)?, open(&rootfs.work)?);
    Ok((upper, work, tree))
}

fn common_parent<'a>(left: &'a Path, right: &Path) -> Option<&'a Path> {
    left.ancestors()
        .skip(1)
        .find(|ancestor| right.starts_with(ancestor) && right != *ancestor)
}

/// Makes the detached mount the process's root and lets go of the host's file system.
pub(super) fn pivot(root: &OwnedFd, somewhere: &Path) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(CWD, somewhere, flags, Mode::empty())
        .step(|| format!("open `{}`", somewhere.display()))?;
    attach(root, &place, || "attach the root file system".to_owned())?;
    let step = || "change the root".to_owned();
    rustix::process::fchdir(root).step(step)?;
    rustix::process::pivot_root(".", ".").step(step)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(step)?;
    rustix::process::chdir("/").step(step)
}

/// Attaches a detached mount on what `target` is a descriptor of.
pub(super) fn attach(
    mount: &OwnedFd,
    target: &OwnedFd,
    step: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).step(step)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::common_parent;

    #[test]
    fn upper_and_work_share_their_deepest_common_parent() {
        let common = |left, right| common_parent(Path::new(left), Path::new(right));
        assert_eq!(common("/a/b/upper", "/a/b/work"), Some(Path::new("/a/b")));
        assert_eq!(common("/a/u/x", "/a/w/y"), Some(Path::new("/a")));
        assert_eq!(common("/a", "/b"), Some(Path::new("/")));
        assert_eq!(common("/a/upper", "/a"), Some(Path::new("/")));
    }
}
