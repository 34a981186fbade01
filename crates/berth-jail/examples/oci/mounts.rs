//! `mounts`, `maskedPaths` and `readonlyPaths` of a bundle.
//!
//! The jail mounts a directory or file, without what is mounted below it, with the attributes that it
//! finds. So a bundle's bind mounts are made beside it first, with the options that it asks for, in this
//! process's own mount namespace; each mount below is one of its own. The kernel's file systems, /dev and
//! what of them is hidden are the jail's.

use std::path::{Component, Path, PathBuf};

use berth_jail::{Mount, MountSource};
use rustix::mount::MountFlags;
use serde_json::Value;

use crate::Result;
use crate::bundle::strings;

const TMPFS_BYTES: u64 = 64 << 20;
/// Where the jail's own mounts are.
const OURS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Options of `mount` and what they set; with an `r` before them, also for what is mounted below.
const OPTIONS: [(&str, MountFlags); 6] = [
    ("nosuid", MountFlags::NOSUID),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("nosymfollow", MountFlags::NOSYMFOLLOW),
];

/// A directory for what is mounted beside the bundle.
pub(crate) struct Stage<'a> {
    directory: &'a Path,
    made: Vec<Mount>,
}

/// Refuses paths that cannot be hidden or protected.
pub(crate) fn check(config: &Value, bundle: &Path) -> Result<()> {
    let root = root(config, bundle);
    for list in ["maskedPaths", "readonlyPaths"] {
        for path in strings(&config["linux"][list]) {
            plain(&root, &path)?;
        }
    }
    Ok(())
}

/// Everything that the bundle wants mounted.
pub(crate) fn mounts(config: &Value, bundle: &Path, home: &Path) -> Result<Vec<Mount>> {
    let directory = home.join("mounts");
    std::fs::create_dir(&directory).map_err(|error| error.to_string())?;
    let mut stage = Stage {
        directory: &directory,
        made: Vec::new(),
    };
    for mount in config["mounts"].as_array().into_iter().flatten() {
        stage.mount(mount, bundle)?;
    }
    let (root, linux) = (root(config, bundle), &config["linux"]);
    for path in strings(&linux["readonlyPaths"]) {
        if plain(&root, &path)?.is_some() {
            let source = root.join(path.trim_start_matches('/'));
            let target = Path::new("/").join(&path);
            stage.bind(
                &source,
                &target.to_string_lossy(),
                MountFlags::empty(),
                true,
            )?;
        }
    }
    stage.mask(&root, strings(&linux["maskedPaths"]))?;
    Ok(stage.made)
}

fn root(config: &Value, bundle: &Path) -> PathBuf {
    bundle.join(config["root"]["path"].as_str().unwrap_or("rootfs"))
}

fn is_ours(target: &str) -> bool {
    OURS.iter().any(|ours| Path::new(target).starts_with(ours))
}

/// Whether something of the image is there, and a directory; nothing if it is the jail's own.
fn plain(root: &Path, path: &str) -> Result<Option<bool>> {
    if is_ours(path) {
        return Ok(None);
    }
    let mut at = root.to_owned();
    let mut directory = true;
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => at.push(name),
            _ => return Err(format!("`{path}` leads up")),
        }
        let Ok(found) = at.symlink_metadata() else {
            return Ok(None);
        };
        if found.is_symlink() {
            return Err(format!("`{path}` is a symbolic link"));
        }
        directory = found.is_dir();
    }
    Ok(Some(directory))
}

impl Stage<'_> {
    fn mount(&mut self, mount: &Value, bundle: &Path) -> Result<()> {
        let target = mount["destination"].as_str().unwrap_or_default();
        let options = strings(&mount["options"]);
        let has = |name: &str| options.iter().any(|option| option == name);
        let kind = mount["type"].as_str().unwrap_or_default();
        let bind = has("bind") || has("rbind") || kind == "bind";
        if is_ours(target) {
            return Ok(());
        }
        if !bind {
            if kind != "tmpfs" {
                return Err(format!("mounts: type `{kind}` on `{target}`"));
            }
            self.made.push(Mount {
                target: target.to_owned(),
                source: MountSource::Tmpfs(TMPFS_BYTES),
                read_only: has("ro"),
            });
            return Ok(());
        }
        let source = bundle.join(mount["source"].as_str().unwrap_or_default());
        let flags = |prefix: &str| {
            let set = OPTIONS.iter();
            let set = set.filter(|(name, _)| has(&format!("{prefix}{name}")));
            set.fold(MountFlags::empty(), |all, (_, flag)| all | *flag)
        };
        let (own, all) = (flags(""), flags("r"));
        self.bind(&source, target, own | all, has("ro") || has("rro"))?;
        if has("rbind") {
            for below in mounted_below(&source)? {
                let part = below.strip_prefix(&source).unwrap_or(&below).to_owned();
                let target = Path::new(target).join(part);
                self.bind(&below, &target.to_string_lossy(), all, has("rro"))?;
            }
        }
        Ok(())
    }

    /// A bind mount, made beside the bundle if it has options.
    fn bind(&mut self, from: &Path, to: &str, flags: MountFlags, read_only: bool) -> Result<()> {
        let failed = |error: std::io::Error| format!("mount `{}`: {error}", from.display());
        let mut source = from.to_owned();
        if !flags.is_empty() {
            source = self.directory.join(self.made.len().to_string());
            if from.is_dir() {
                std::fs::create_dir(&source).map_err(failed)?;
            } else {
                std::fs::write(&source, "").map_err(failed)?;
            }
            rustix::mount::mount_bind(from, &source).map_err(|error| failed(error.into()))?;
            rustix::mount::mount_remount(&source, MountFlags::BIND | flags, "")
                .map_err(|error| failed(error.into()))?;
        }
        self.made.push(Mount {
            target: to.to_owned(),
            source: MountSource::Bind(source),
            read_only,
        });
        Ok(())
    }

    /// Hides directories behind an empty one and everything else behind an empty file.
    fn mask(&mut self, root: &Path, mut paths: Vec<String>) -> Result<()> {
        let empty = self.directory.join("empty");
        std::fs::write(&empty, "").map_err(|error| error.to_string())?;
        paths.sort();
        let mut hidden: Vec<String> = Vec::new();
        for path in paths {
            let Some(directory) = plain(root, &path)? else {
                continue;
            };
            // Below a hidden directory there is nothing.
            if hidden
                .iter()
                .any(|above| Path::new(&path).starts_with(above))
            {
                continue;
            }
            let source = if directory {
                MountSource::Tmpfs(4096)
            } else {
                MountSource::Bind(empty.clone())
            };
            self.made.push(Mount {
                target: Path::new("/").join(&path).to_string_lossy().into_owned(),
                source,
                read_only: true,
            });
            hidden.push(path);
        }
        Ok(())
    }
}

/// Mount points below a path, outer ones first.
fn mounted_below(path: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo");
    let table = table.map_err(|error| error.to_string())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(PathBuf::from);
    Ok(points
        .filter(|point| point != path && point.starts_with(path))
        .collect())
}
