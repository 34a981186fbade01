//! Where Berth keeps things on this machine.

use std::path::{Path, PathBuf};

use berth_error::{Report, ResultExt as _};

use crate::cli::GlobalArgs;

/// The directories in use. All are absolute; the data directory may not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Images, layers, sessions. Must be on a file system that can be idmapped (ext4, xfs, btrfs).
    pub(crate) data: PathBuf,
    /// Tools that can be fetched again.
    pub(crate) cache: PathBuf,
    /// The data directory was named by the command line or the environment.
    pub(crate) data_is_given: bool,
}

impl Paths {
    /// The command line's choice, then the environment's, then the usual places.
    pub(crate) fn resolve(args: &GlobalArgs) -> Result<Self, Report> {
        let data = match &args.data_dir {
            Some(data) => absolute(data)?,
            None => PathBuf::from("/var/lib/berth"),
        };
        let cache = match &args.cache_dir {
            Some(cache) => absolute(cache)?,
            None => default_cache().ok_or_else(|| {
                Report::new(
                    "no directory for downloaded tools: neither `HOME` nor `XDG_CACHE_HOME` is set",
                    Some("name one with `--cache-dir`".to_owned()),
                )
            })?,
        };
        Ok(Self {
            data,
            cache,
            data_is_given: args.data_dir.is_some(),
        })
    }

    /// Where running sessions keep their directories.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.data.join("sessions")
    }
}

fn default_cache() -> Option<PathBuf> {
    let non_empty = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match non_empty("XDG_CACHE_HOME") {
        Some(cache) => Some(Path::new(&cache).join("berth")),
        None => Some(Path::new(&non_empty("HOME")?).join(".cache/berth")),
    }
}

/// The path from the root, without touching the file system.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Report> {
    std::path::absolute(path).context(format!("could not tell where `{}` is", path.display()))
}
