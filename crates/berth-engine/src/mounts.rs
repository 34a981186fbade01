//! A container's mounts: checked, their volumes in use, and filled from the image.
//!
//! Blocking; part of the preparation. The jail sorts mounts by depth, so their order here is free.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use berth_image::{OverlayRecords, Root, copy_tree};
use berth_jail::{ContainerRoot, Disk, Mount, MountSource, Rootfs, with_root};
use rustix::fs::OFlags;

use crate::volumes::{VolumeLease, Volumes};
use crate::{ContainerMount, ContainerMountSource, EngineError};

/// The mounts of one container, and what keeps their volumes.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    pub(crate) mounts: Vec<Mount>,
    leases: Vec<VolumeLease>,
    /// Index of a mount and of its lease, for volumes that begin with the image's content.
    fill: Vec<(usize, usize)>,
}

/// Checks targets: absolute, not the root, no two alike. Returns them without `.`, `..` and
/// doubled slashes.
///
/// # Errors
/// [`EngineError::InvalidMount`].
pub(crate) fn check(mounts: &[ContainerMount]) -> Result<Vec<String>, EngineError> {
    let mut seen = BTreeSet::new();
    mounts
        .iter()
        .map(|mount| {
            let invalid = |reason| EngineError::InvalidMount {
                target: mount.target.clone(),
                reason,
            };
            let target = clean(&mount.target).ok_or_else(|| invalid("it is not absolute"))?;
            if target == "/" {
                return Err(invalid("nothing can be mounted on the root"));
            }
            if !seen.insert(target.clone()) {
                return Err(invalid("duplicate mount point"));
            }
            Ok(target)
        })
        .collect()
}

/// A path as it would be without symbolic links; `None` if it is not absolute.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

impl Mounted {
    /// Takes the volumes into use; those that do not exist are made.
    ///
    /// # Errors
    /// [`EngineError::InvalidMount`], and what [`Volumes::lease`] fails with.
    pub(crate) fn new(volumes: &Volumes, wanted: &[ContainerMount]) -> Result<Self, EngineError> {
        let mut mounted = Self::default();
        for (target, mount) in check(wanted)?.into_iter().zip(wanted) {
            let source = match &mount.source {
                ContainerMountSource::Tmpfs(bytes) => MountSource::Tmpfs(*bytes),
                ContainerMountSource::Volume { name, copy_up } => {
                    let lease = volumes.lease(name)?;
                    if *copy_up {
                        let indices = (mounted.mounts.len(), mounted.leases.len());
                        mounted.fill.push(indices);
                    }
                    let data = lease.data();
                    mounted.leases.push(lease);
                    MountSource::Bind(data)
                }
            };
            mounted.mounts.push(Mount {
                target,
                source,
                read_only: mount.read_only,
            });
        }
        Ok(mounted)
    }

    /// The volumes of a container that runs already.
    ///
    /// # Errors
    /// What [`Volumes::lease`] fails with.
    pub(crate) fn resume(volumes: &Volumes, names: &[String]) -> Result<Self, EngineError> {
        let leases = names.iter().map(|name| volumes.lease(name));
        Ok(Self {
            leases: leases.collect::<Result<_, _>>()?,
            ..Self::default()
        })
    }

    /// The names of its volumes.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let names = self.leases.iter().map(|lease| lease.name().to_owned());
        names.collect()
    }

    /// Gives empty volumes what the image has at their targets.
    ///
    /// # Errors
    /// [`EngineError::InvalidMount`] if that cannot be copied.
    pub(crate) fn fill(&self, rootfs: &Rootfs, disk: Option<&Disk>) -> Result<(), EngineError> {
        for (mount, lease) in &self.fill {
            let (Some(mount), Some(lease)) = (self.mounts.get(*mount), self.leases.get(*lease))
            else {
                continue;
            };
            lease.fill_if_empty(|to| fill(rootfs, disk, &mount.target, &to))?;
        }
        Ok(())
    }
}

fn fill(
    rootfs: &Rootfs,
    disk: Option<&Disk>,
    target: &str,
    to: &OwnedFd,
) -> Result<(), EngineError> {
    let container = ContainerRoot::Stopped {
        rootfs,
        mounts: &[],
        disk,
    };
    let copied = with_root(&container, |root, _| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match Root::from(root).open_any(target.as_bytes(), flags)? {
            Some(from) => copy_tree(from.as_fd(), to.as_fd(), OverlayRecords::Drop),
            None => Ok(()),
        }
    });
    copied
        .map_err(|source| EngineError::Jail {
            step: "copy the image's content into a volume of",
            name: target.to_owned(),
            source,
        })?
        .map_err(|source| EngineError::Archive {
            step: "copy into a volume",
            path: target.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str) -> ContainerMount {
        ContainerMount {
            target: target.to_owned(),
            source: ContainerMountSource::Tmpfs(1),
            read_only: false,
        }
    }

    #[test]
    fn targets_are_absolute_and_different() {
        let checked = |targets: &[&str]| {
            let mounts: Vec<_> = targets.iter().map(|target| mount(target)).collect();
            check(&mounts)
        };
        assert_eq!(
            checked(&["/a/b/", "//a/./c", "/x/../a"]).unwrap(),
            ["/a/b", "/a/c", "/a"]
        );
        for bad in [&["a"][..], &["/"], &["/a/.."], &[""], &["/a", "/b", "/a/"]] {
            assert!(
                matches!(checked(bad), Err(EngineError::InvalidMount { .. })),
                "{bad:?}"
            );
        }
    }
}
