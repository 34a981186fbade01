//! The merged file system of some layers, as a mount that has no place in the host's tree: it is
//! reached by its descriptor only and ends with it, also when the process is killed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use berth_image::{ImageStore, Layer, Root};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::error::StepError;

/// A fresh writable directory over some layers. Everything of it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Writable {
    directory: tempfile::TempDir,
}

impl Writable {
    pub(crate) fn new(store: &ImageStore) -> Result<Self, StepError> {
        let directory = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(store.scratch_dir())?;
        for name in ["upper", "work", "before", "empty"] {
            fs_err::create_dir(directory.path().join(name))?;
        }
        // The directory's own mode becomes the root's mode inside.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(directory.path().join("upper"), mode)?;
        Ok(Self { directory })
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// An empty directory to mount something on.
    pub(crate) fn place(&self) -> Result<PathBuf, StepError> {
        let path = self.directory.path().join("place");
        fs_err::create_dir_all(&path)?;
        Ok(path)
    }

    /// The merged file system; what is written to it ends up in [`Writable::upper`].
    pub(crate) fn mount(&self, store: &ImageStore, layers: &[Layer]) -> Result<Root, StepError> {
        self.mount_with(&self.work(), store, layers)
    }

    /// The same, for preparations before somebody else mounts [`Writable::work`]: what a mount
    /// worked in cannot be mounted again.
    pub(crate) fn mount_before(
        &self,
        store: &ImageStore,
        layers: &[Layer],
    ) -> Result<Root, StepError> {
        self.mount_with(&self.directory.path().join("before"), store, layers)
    }

    fn mount_with(
        &self,
        work: &Path,
        store: &ImageStore,
        layers: &[Layer],
    ) -> Result<Root, StepError> {
        let mut lower = lower(store, layers);
        if lower.is_empty() {
            lower.push(self.directory.path().join("empty"));
        }
        Ok(Root::from(overlay(&lower, Some((&self.upper(), work)))?))
    }
}

/// Read-only view of some layers.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) root: Root,
    /// The bottom layer, kept as long as the view.
    pub(crate) empty: tempfile::TempDir,
}

impl View {
    pub(crate) fn new(store: &ImageStore, layers: &[Layer]) -> Result<Self, StepError> {
        let empty = tempfile::Builder::new()
            .prefix("view-")
            .tempdir_in(store.scratch_dir())?;
        let mut lower = lower(store, layers);
        // Without a writable directory overlayfs wants two layers at least.
        lower.push(empty.path().to_owned());
        let root = if lower.len() == 1 {
            Root::open(empty.path())?
        } else {
            Root::from(overlay(&lower, None)?)
        };
        Ok(Self { root, empty })
    }
}

/// The layers' trees, topmost first. The same layer twice (two steps that did the same) is there once,
/// at its upper place: overlayfs refuses it twice, and the upper one hides the lower one.
pub(crate) fn lower(store: &ImageStore, layers: &[Layer]) -> Vec<PathBuf> {
    store.lower_directories(layers)
}

fn overlay(lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> std::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    // By descriptor: paths given as strings may have 255 bytes only.
    for layer in lower {
        fsconfig_set_fd(context, "lowerdir+", directory(layer)?)?;
    }
    // The same as in the jail: no redirects, so that the writable directory is a plain difference.
    for (key, value) in [
        ("source", "overlay"),
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
        ("index", "off"),
    ] {
        fsconfig_set_string(context, key, value)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_fd(context, "upperdir", directory(upper)?)?;
        fsconfig_set_fd(context, "workdir", directory(work)?)?;
        // The store flushes a layer when it takes it; flushing at unmount would be for nothing.
        fsconfig_set_flag(context, "volatile")?;
    }
    fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
