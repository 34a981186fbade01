//! Files that appear whole, and directories that are made on the way. Everything here blocks.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::{Result, failed, optional, write};
use crate::crash::crash_point;
use crate::digest::Algorithm;
use crate::storage::{BlobInfo, Keep};

/// A directory that is removed while we write into it is made again this often.
const ATTEMPTS: u32 = 8;

/// The root, and names for what has none yet.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Nobody else's: each process has a prefix of its own.
    prefix: String,
    next: AtomicU64,
}

impl Files {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let files = Self {
            root: root.to_owned(),
            prefix: uuid::Uuid::new_v4().simple().to_string(),
            next: AtomicU64::new(0),
        };
        for directory in ["uploads", "tmp"] {
            files.make_directory(&root.join(directory))?;
        }
        for algorithm in Algorithm::ALL {
            files.make_directory(&root.join("blobs").join(algorithm.name()))?;
        }
        Ok(files)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self, name: &str) -> Result<Option<File>> {
        let path = self.root.join(name);
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let file = options
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed("lock", &path, error.into())),
        }
    }

    pub(super) fn sweep(&self) -> Result<()> {
        let tmp = self.root.join("tmp");
        for (name, _) in self.list(&tmp)? {
            self.remove(&tmp.join(name))?;
        }
        Ok(())
    }

    /// A name in `tmp` that nobody has.
    fn unnamed(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root
            .join("tmp")
            .join(format!("{}-{number}", self.prefix))
    }

    /// Makes a directory and what is above it.
    fn make_directory(&self, path: &Path) -> Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("create", path, error))
    }

    pub(super) fn put(&self, path: &Path, value: &[u8], keep: Keep) -> Result<()> {
        if value.is_empty() && keep == Keep::Volatile {
            return self.in_directory(path, || File::create(path).map(drop));
        }
        let unnamed = self.unnamed();
        let named = self.write(&unnamed, value, keep).and_then(|()| {
            crash_point("registry.record.written");
            self.in_directory(path, || std::fs::rename(&unnamed, path))
        });
        if named.is_err() {
            // It is swept if this fails too.
            let _ = std::fs::remove_file(&unnamed);
        }
        named?;
        match keep {
            Keep::Durable => self.sync_up(path),
            Keep::Volatile => Ok(()),
        }
    }

    fn write(&self, path: &Path, value: &[u8], keep: Keep) -> Result<()> {
        let write = || {
            let mut file = write::create(path)?;
            file.write_all(value)?;
            if keep == Keep::Durable {
                file.sync_data()?;
            }
            Ok(())
        };
        write().map_err(|error| failed("write", path, error))
    }

    /// Does something in the directory of `path`, which is made if it is missing.
    fn in_directory(&self, path: &Path, mut action: impl FnMut() -> io::Result<()>) -> Result<()> {
        for attempt in 0.. {
            match action() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                    self.make_directory(path.parent().unwrap_or(&self.root))?;
                }
                outcome => return outcome.map_err(|error| failed("write", path, error)),
            }
        }
        Ok(())
    }

    /// Forces the directories above `path` to the disk, up to the root: any of them may be new. One
    /// that is clean costs nothing.
    fn sync_up(&self, path: &Path) -> Result<()> {
        for directory in path.ancestors().skip(1) {
            sync_directory(directory)?;
            if directory == self.root {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn settle(&self, path: &Path) -> Result<()> {
        for algorithm in Algorithm::ALL {
            sync_directory(&self.root.join("blobs").join(algorithm.name()))?;
        }
        let synced = optional(sync(path)).map_err(|error| failed("sync", path, error))?;
        match synced {
            Some(()) => self.sync_up(path),
            None => Ok(()),
        }
    }

    pub(super) fn put_blob(&self, path: &Path, content: &[u8]) -> Result<()> {
        let unnamed = self.unnamed();
        let outcome = self.write(&unnamed, content, Keep::Durable).and_then(|()| {
            crash_point("registry.blob.synced");
            std::fs::rename(&unnamed, path).map_err(|error| failed("name", path, error))
        });
        if outcome.is_err() {
            let _ = std::fs::remove_file(&unnamed);
        }
        crash_point("registry.blob.renamed");
        outcome
    }

    pub(super) fn commit(&self, from: &Path, to: &Path) -> Result<()> {
        let file = File::open(from).map_err(|error| failed("open", from, error))?;
        file.sync_data()
            .map_err(|error| failed("sync", from, error))?;
        crash_point("registry.upload.synced");
        std::fs::rename(from, to).map_err(|error| failed("name", to, error))?;
        crash_point("registry.upload.renamed");
        Ok(())
    }

    pub(super) fn info(&self, path: &Path) -> Result<Option<BlobInfo>> {
        optional(std::fs::metadata(path).and_then(|metadata| info(&metadata)))
            .map_err(|error| failed("look at", path, error))
    }

    pub(super) fn touch(&self, path: &Path) -> Result<bool> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let touched = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
        optional(touched.map_err(io::Error::from))
            .map(|touched| touched.is_some())
            .map_err(|error| failed("touch", path, error))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<bool> {
        optional(std::fs::remove_file(path))
            .map(|removed| removed.is_some())
            .map_err(|error| failed("remove", path, error))
    }

    /// Names and what is known of them; a directory that is not there is empty, and so is a file.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<(String, BlobInfo)>> {
        let entries = optional(std::fs::read_dir(path));
        let Some(entries) = entries.map_err(|error| failed("list", path, error))? else {
            return Ok(Vec::new());
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            // What is removed meanwhile is not there.
            let found = optional(entry.metadata().and_then(|metadata| info(&metadata)));
            let found = found.map_err(|error| failed("look at", &entry.path(), error))?;
            // Other names are not ours.
            if let (Ok(name), Some(found)) = (entry.file_name().into_string(), found) {
                listed.push((name, found));
            }
        }
        Ok(listed)
    }
}

fn info(metadata: &std::fs::Metadata) -> io::Result<BlobInfo> {
    Ok(BlobInfo {
        size: metadata.len(),
        modified: metadata.modified()?,
    })
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_directory(path: &Path) -> Result<()> {
    sync(path).map_err(|error| failed("sync", path, error))
}
