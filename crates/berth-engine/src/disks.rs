//! Writable layers of limited size, one or two of each size prepared ahead.
//!
//! Owned by the engine. Making a disk costs a millisecond of work but, after a quiet time, some more
//! of waiting for the kernel (a loop device and a mount each wait for a grace period), which a
//! request that wakes a container should not pay. Where disks cannot be had (no loop devices, no
//! `mkfs.ext4`, no ext4) that is said once and containers write to the state directory without a
//! limit.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_jail::{Disk, DiskTemplate};
use tokio_util::task::TaskTracker;

use crate::EngineError;

/// Disks of one size that are made ahead.
const AHEAD: usize = 2;

/// The disks of one engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Disks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of disks made ahead; on the file system of the containers' directories.
    dir: PathBuf,
    sizes: Mutex<HashMap<u64, Size>>,
    last_name: AtomicU64,
    /// It has been said that there are none.
    unavailable: AtomicBool,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Size {
    template: Option<Arc<DiskTemplate>>,
    ready: Vec<Disk>,
    /// Being made ahead.
    coming: usize,
}

impl Disks {
    /// `dir` must exist. `tasks` is waited for at shutdown.
    pub(crate) fn new(dir: PathBuf, tasks: TaskTracker) -> Self {
        let inner = Inner {
            dir,
            sizes: Mutex::default(),
            last_name: AtomicU64::new(0),
            unavailable: AtomicBool::new(false),
            tasks,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A disk in the file `image`; `None` if this machine has none. Blocks. To be called within a
    /// runtime.
    ///
    /// # Errors
    /// [`EngineError::File`] if there is no space left for it.
    pub(crate) fn take(&self, bytes: u64, image: &Path) -> Result<Option<Disk>, EngineError> {
        if self.inner.unavailable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ready = self.lock().entry(bytes).or_default().ready.pop();
        let made = match ready {
            Some(mut disk) => disk.rename(image).map(|()| disk),
            None => self.make(bytes, image),
        };
        match made {
            Ok(disk) => {
                self.make_ahead(bytes);
                Ok(Some(disk))
            }
            Err(source) if source.kind() == io::ErrorKind::StorageFull => Err(EngineError::File {
                step: "make the disk",
                path: image.to_owned(),
                source,
            }),
            Err(error) => {
                self.give_up(&error);
                Ok(None)
            }
        }
    }

    /// Makes disks of a size ahead, in the background.
    pub(crate) fn make_ahead(&self, bytes: u64) {
        if self.inner.tasks.is_closed() || self.inner.unavailable.load(Ordering::Relaxed) {
            return;
        }
        let wanted = {
            let mut sizes = self.lock();
            let size = sizes.entry(bytes).or_default();
            let wanted = AHEAD.saturating_sub(size.ready.len() + size.coming);
            size.coming += wanted;
            wanted
        };
        for _ in 0..wanted {
            let disks = self.clone();
            self.inner.tasks.spawn_blocking(move || {
                let number = disks.inner.last_name.fetch_add(1, Ordering::Relaxed);
                let made = disks.make(bytes, &disks.inner.dir.join(format!("{bytes}-{number}")));
                let mut sizes = disks.lock();
                let size = sizes.entry(bytes).or_default();
                size.coming = size.coming.saturating_sub(1);
                match made {
                    Ok(disk) => size.ready.push(disk),
                    // Whoever needs one will make it, or say why that does not work.
                    Err(error) => tracing::debug!(%error, "no disk made ahead"),
                }
            });
        }
    }

    /// Lets go of what was made ahead. Blocks.
    pub(crate) fn clear(&self) {
        let sizes = std::mem::take(&mut *self.lock());
        drop(sizes);
    }

    fn make(&self, bytes: u64, image: &Path) -> io::Result<Disk> {
        let known = self.lock().entry(bytes).or_default().template.clone();
        let template = match known {
            Some(template) => template,
            None => {
                let number = self.inner.last_name.fetch_add(1, Ordering::Relaxed);
                let scratch = self.inner.dir.join(format!("scratch-{number}"));
                std::fs::create_dir(&scratch)?;
                let made = DiskTemplate::make(bytes, &scratch);
                // Empty again.
                let _ = std::fs::remove_dir(&scratch);
                let made = Arc::new(made?);
                self.lock().entry(bytes).or_default().template = Some(Arc::clone(&made));
                made
            }
        };
        Disk::create(&template, image)
    }

    fn give_up(&self, error: &io::Error) {
        if !self.inner.unavailable.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "the disks of containers are not limited: no file system of their own can be made \
                 (it takes loop devices, ext4 and mkfs.ext4)"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Size>> {
        self.inner
            .sizes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
