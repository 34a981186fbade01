//! The overlay root: idmapped layers, idmapped writable directory, and the move into it.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::mounts;
use crate::error::{Failure, Step as _};
use crate::spec::{OverlayMount, Rootfs};
use crate::sys;

/// A detached copy of a host mount's part at `path`, with ids mapped through `user_namespace`.
pub(super) fn idmapped(path: &Path, user_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(path)?;
    sys::mount::idmap(&tree, user_namespace)
        .step(|| format!("map the ids of `{}`", path.display()))?;
    Ok(tree)
}

/// A detached copy of a host mount's part at `path`.
pub(crate) fn clone_tree(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).step(|| format!("open `{}`", path.display()))
}

/// Keeps later mounts from reaching the host, and the host's from reaching us.
pub(super) fn make_private() -> Result<(), Failure> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step(|| "make the mounts private".to_owned())
}

/// Makes the container's root file system the process's root and lets go of the host's.
///
/// `disk`: a detached mount that has the writable layer. Returns the root's mount.
pub(super) fn enter(
    rootfs: &Rootfs,
    disk: Option<OwnedFd>,
    user_namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure> {
    let root = mount(rootfs, disk, Some(user_namespace))?;
    pivot(&root)?;
    Ok(root)
}

/// Mounts the container's root file system somewhere in the calling thread's mount namespace.
/// Without a user namespace ids are as on disk: those inside.
pub(crate) fn mount(
    rootfs: &Rootfs,
    disk: Option<OwnedFd>,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Failure> {
    let somewhere = rootfs.lower.first().unwrap_or(&rootfs.upper);
    mount_at(rootfs, disk, user_namespace, somewhere)
}

/// A detached mount of a part of an overlay.
pub(super) fn part_of(
    wanted: &OverlayMount,
    user_namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure> {
    let step = || format!("mount `{}` of the layers", wanted.path);
    let root = mount_at(&wanted.rootfs, None, Some(user_namespace), &wanted.at)?;
    let path = wanted.path.trim_matches('/');
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let part = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).step(step)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(&part, "", flags).step(step)
}

/// [`mount`] on a certain directory.
fn mount_at(
    rootfs: &Rootfs,
    disk: Option<OwnedFd>,
    user_namespace: Option<BorrowedFd<'_>>,
    somewhere: &Path,
) -> Result<OwnedFd, Failure> {
    if rootfs.lower.is_empty() {
        // An image without layers: overlayfs insists on one, and the writable directory is all.
        let root = mapped(&rootfs.upper, user_namespace)?;
        sys::mount::add_attributes(&root, libc::MOUNT_ATTR_NODEV)
            .step(|| "restrict the root".to_owned())?;
        attach_somewhere(&root, somewhere)?;
        return Ok(root);
    }
    let layers = Layers::open(rootfs, disk, user_namespace)?;
    match layers.by_descriptor()? {
        Some(root) => {
            attach_somewhere(&root, somewhere)?;
            Ok(root)
        }
        None => layers.by_name(somewhere),
    }
}

fn mapped(path: &Path, user_namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
    match user_namespace {
        Some(user_namespace) => idmapped(path, user_namespace),
        None => clone_tree(path),
    }
}

/// Idmapped copies of everything the overlay is made of. A detached mount ends with its descriptor,
/// so all of them stay open until the overlay, which takes copies of its own, exists.
struct Layers {
    /// Topmost first.
    lower: Vec<OwnedFd>,
    /// overlayfs wants upper and work on one mount: the one of their common parent.
    parent: OwnedFd,
    /// Below `parent`.
    upper: PathBuf,
    /// Below `parent`.
    work: PathBuf,
}

/// What an image's own attributes could redirect is not followed, and what the container renames
/// stays readable as a plain difference. The writable layer does not survive a crash of the machine
/// anyway, so syncing it (and, at unmount, its whole file system) is left out.
const OPTIONS: [(&str, &str); 3] = [
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
];

impl Layers {
    fn open(
        rootfs: &Rootfs,
        disk: Option<OwnedFd>,
        user_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Failure> {
        let host_directory = match &disk {
            Some(_) => Path::new(""),
            None => common_parent(&rootfs.upper, &rootfs.work).ok_or_else(|| {
                Failure::Invalid(
                    "root file system: upper and work have no common parent".to_owned(),
                )
            })?,
        };
        let parent = match disk {
            Some(disk) => disk,
            None => clone_tree(host_directory)?,
        };
        let below = |path: &Path| path.strip_prefix(host_directory).unwrap_or(path).to_owned();
        let (upper, work) = (below(&rootfs.upper), below(&rootfs.work));
        forget_volatile(&parent, &work);
        if let Some(user_namespace) = user_namespace {
            sys::mount::idmap(&parent, user_namespace)
                .step(|| "map the ids of the writable layer".to_owned())?;
        }
        // overlayfs refuses the same directory twice; the upper place hides the lower one.
        let lower = rootfs.lower.iter().enumerate();
        let lower = lower.filter(|(at, layer)| !rootfs.lower[..*at].contains(layer));
        let lower = lower.map(|(_, layer)| layer);
        Ok(Self {
            lower: lower
                .map(|layer| mapped(layer, user_namespace))
                .collect::<Result<_, _>>()?,
            upper,
            work,
            parent,
        })
    }

    /// The detached overlay; `None` if the kernel is older than 6.13 and does not take descriptors.
    fn by_descriptor(&self) -> Result<Option<OwnedFd>, Failure> {
        let step = || "create the overlay".to_owned();
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(step)?;
        for (index, layer) in self.lower.iter().enumerate() {
            match rustix::mount::fsconfig_set_fd(&context, "lowerdir+", layer.as_fd()) {
                Err(Errno::INVAL | Errno::BADF) if index == 0 => return Ok(None),
                other => other.step(|| format!("add layer {index} to the overlay"))?,
            }
        }
        for (key, path) in [("upperdir", &self.upper), ("workdir", &self.work)] {
            let step = || format!("use `{}` as the overlay's {key}", path.display());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&self.parent, path, flags, Mode::empty()).step(step)?;
            rustix::mount::fsconfig_set_fd(&context, key, fd.as_fd()).step(step)?;
        }
        for (key, value) in [("source", "overlay")].iter().chain(&OPTIONS) {
            rustix::mount::fsconfig_set_string(&context, *key, *value)
                .step(|| format!("set the overlay's `{key}`"))?;
        }
        rustix::mount::fsconfig_set_flag(&context, "volatile").step(step)?;
        rustix::mount::fsconfig_create(&context)
            .step(|| format!("create the overlay{}", kernel_log(&context)))?;
        // An image's device nodes are never devices.
        let flags = MountAttrFlags::MOUNT_ATTR_NODEV;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
            .step(step)
            .map(Some)
    }

    /// The overlay, attached, on kernels from 5.19 on: the layers are attached below a tmpfs on
    /// `somewhere`, under names short enough for the one page that all options must fit into.
    fn by_name(&self, somewhere: &Path) -> Result<OwnedFd, Failure> {
        let step = || "create the overlay".to_owned();
        let staging = mounts::pseudo_fs("tmpfs", &[], MountAttrFlags::empty())?;
        attach_somewhere(&staging, somewhere)?;
        let place = |name: &str| -> Result<OwnedFd, Failure> {
            rustix::fs::mkdirat(&staging, name, Mode::from(0o755)).step(step)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(&staging, name, flags, Mode::empty()).step(step)
        };
        let mut names = Vec::with_capacity(self.lower.len());
        for (index, layer) in self.lower.iter().enumerate() {
            let name = index.to_string();
            attach(layer, &place(&name)?, step)?;
            names.push(name);
        }
        attach(&self.parent, &place("w")?, step)?;
        place("root")?;
        let mut options = format!(
            "lowerdir={},upperdir=w/{},workdir=w/{},volatile",
            names.join(":"),
            self.upper.display(),
            self.work.display(),
        );
        for (key, value) in OPTIONS {
            options.push_str(&format!(",{key}={value}"));
        }
        let options = CString::new(options)
            .map_err(|_| Failure::Invalid("root file system: a NUL byte in a path".to_owned()))?;
        rustix::process::fchdir(&staging).step(step)?;
        let flags = MountFlags::NODEV;
        rustix::mount::mount("overlay", "root", "overlay", flags, options.as_c_str()).step(step)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&staging, "root", flags, Mode::empty()).step(step)
    }
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

/// Removes what an earlier volatile mount of the same directories left; overlayfs refuses them
/// otherwise.
fn forget_volatile(parent: &OwnedFd, work: &Path) {
    use std::os::fd::AsRawFd as _;
    let parent = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    let _ = std::fs::remove_dir_all(parent.join(work).join("work/incompat"));
}

fn common_parent<'a>(left: &'a Path, right: &Path) -> Option<&'a Path> {
    left.ancestors()
        .skip(1)
        .find(|ancestor| right.starts_with(ancestor) && right != *ancestor)
}

/// Attaches a mount on a directory of the host, in this process's private view of it: `pivot_root`
/// wants its new root attached.
fn attach_somewhere(mount: &OwnedFd, somewhere: &Path) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(CWD, somewhere, flags, Mode::empty())
        .step(|| format!("open `{}`", somewhere.display()))?;
    attach(mount, &place, || "attach the root file system".to_owned())
}

/// Makes the attached mount the process's root and lets go of the host's file system.
pub(super) fn pivot(root: &OwnedFd) -> Result<(), Failure> {
    let step = || "change the root".to_owned();
    rustix::process::fchdir(root).step(step)?;
    rustix::process::pivot_root(".", ".").step(step)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(step)?;
    rustix::process::chdir("/").step(step)
}

/// Attaches a detached mount on what `target` is a descriptor of.
pub(crate) fn attach(
    mount: &OwnedFd,
    target: &OwnedFd,
    step: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).step(step)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use rustix::thread::UnshareFlags;

    use super::{Layers, attach_somewhere, common_parent, make_private};
    use crate::child::identity::create_files_as;
    use crate::spec::Rootfs;
    use crate::sys;
    use crate::zygote::user_namespace::UserNamespaces;

    const ID_BASE: u32 = 900_000_000;

    #[test]
    fn upper_and_work_share_their_deepest_common_parent() {
        let common = |left, right| common_parent(Path::new(left), Path::new(right));
        assert_eq!(common("/a/b/upper", "/a/b/work"), Some(Path::new("/a/b")));
        assert_eq!(common("/a/u/x", "/a/w/y"), Some(Path::new("/a")));
        assert_eq!(common("/a", "/b"), Some(Path::new("/")));
        assert_eq!(common("/a/upper", "/a"), Some(Path::new("/")));
    }

    /// Mounts the layers in a mount namespace that ends with this thread, and writes to them.
    fn try_out(by_name: bool) {
        let directory = tempfile::tempdir().unwrap();
        let below = |name: &str| directory.path().join(name);
        let mut rootfs = Rootfs {
            lower: Vec::new(),
            upper: below("container/upper"),
            work: below("container/work"),
            read_only: false,
        };
        for path in [&rootfs.upper, &rootfs.work] {
            std::fs::create_dir_all(path).unwrap();
        }
        for number in 0..130 {
            let layer = below(&format!("layer-with-a-long-name-{number}"));
            std::fs::create_dir(&layer).unwrap();
            std::fs::write(layer.join("which"), number.to_string()).unwrap();
            rootfs.lower.push(layer);
        }
        let user_namespace = UserNamespaces::default().get(ID_BASE).unwrap();
        sys::namespace::unshare(UnshareFlags::NEWNS).unwrap();
        make_private().unwrap();
        create_files_as(ID_BASE).unwrap();
        let layers = Layers::open(&rootfs, None, Some(user_namespace.as_fd())).unwrap();
        let root = if by_name {
            layers.by_name(&rootfs.upper).unwrap()
        } else {
            let root = layers.by_descriptor().unwrap();
            // Older kernels than 6.13 have the other way only.
            let Some(root) = root else { return };
            attach_somewhere(&root, &rootfs.upper).unwrap();
            root
        };
        drop(layers);
        rustix::process::fchdir(&root).unwrap();
        assert_eq!(std::fs::read_to_string("which").unwrap(), "0");
        assert_eq!(std::fs::metadata("which").unwrap().uid(), ID_BASE);
        std::fs::write("new", "text").unwrap();
        // In the directory itself, beneath what is mounted on it, ids are the container's.
        let on_disk = std::process::Command::new("nsenter")
            .args(["--target", &std::process::id().to_string(), "--mount"])
            .args(["stat", "--format=%u"])
            .arg(rootfs.upper.join("new"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&on_disk.stdout), "0\n");
    }

    #[test]
    fn layers_are_stacked_by_descriptor() {
        // A thread of its own, as its namespace and working directory change.
        std::thread::spawn(|| try_out(false)).join().unwrap();
    }

    #[test]
    fn layers_are_stacked_by_name_for_older_kernels() {
        std::thread::spawn(|| try_out(true)).join().unwrap();
    }
}
