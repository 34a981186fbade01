//! How much of the machine a build may take. A Dockerfile does not choose this, and what it runs is
//! stopped where it ends.

use std::time::Duration;

use berth_image::ImageStore;
use berth_jail::Limits;
use rustix::system::sysinfo;

use crate::error::StepError;

/// How often a running step's disk is looked at. Nothing tells when a file system becomes full
/// without a quota, and a quota would need a file system of its own for every step.
const DISK_PERIOD: Duration = Duration::from_millis(200);
/// Never less memory than this, however small the machine is.
const LEAST_MEMORY: u64 = 256 << 20;
const PIDS: u32 = 16_384;
const DISK_RESERVE: u64 = 512 << 20;
/// Eight times what BuildKit shows.
const OUTPUT: u64 = 16 << 20;
/// Of a small disk the reserve is this part instead.
const SMALL_PART: u64 = 20;
/// Smaller files are copied without a look at the disk.
const WORTH_A_LOOK: u64 = 1 << 20;
/// What no archive may unpack to, however large the disk is.
const LARGEST_ARCHIVE: u64 = 64 << 30;

/// Limits of a build. The default is for a machine that has other things to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory of each `RUN`, without swap. By default three quarters of the machine's.
    pub memory: u64,
    /// Processes and threads of each `RUN`. By default 16,384.
    pub pids: u32,
    /// Bytes that stay free on the image store's file system: a step that would use them ends. By
    /// default 512 MiB, or a twentieth of a smaller disk.
    pub disk_reserve: u64,
    /// How long the whole build may take. By default as long as it likes.
    pub time: Option<Duration>,
    /// Bytes of output of each `RUN` that are passed on. The command goes on; of what it writes then
    /// only the end is kept, for its error. By default 16 MiB.
    pub output: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        let machine = sysinfo();
        let memory = u64::from(machine.mem_unit).saturating_mul(machine.totalram);
        Self {
            memory: (memory / 4 * 3).max(LEAST_MEMORY),
            pids: PIDS,
            disk_reserve: DISK_RESERVE,
            time: None,
            output: OUTPUT,
        }
    }
}

impl Bounds {
    /// Those that the jail enforces.
    pub(crate) fn limits(self) -> Limits {
        Limits {
            memory_bytes: Some(self.memory),
            pids: Some(self.pids),
            ..Limits::default()
        }
    }

    /// Bytes that a step may still write to the store's file system.
    ///
    /// # Errors
    /// [`StepError::DiskReserve`] if there are none.
    pub(crate) fn disk_left(self, store: &ImageStore) -> Result<u64, StepError> {
        let disk = rustix::fs::statvfs(store.root()).map_err(std::io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let reserve = self.reserve(disk.f_blocks.saturating_mul(disk.f_frsize));
        match free.checked_sub(reserve) {
            Some(left) if left > 0 => Ok(left),
            _ => Err(StepError::DiskReserve {
                path: store.root().to_owned(),
                free,
                reserve,
            }),
        }
    }

    /// What stays free of a disk of so many bytes: of a small one not more than a twentieth.
    fn reserve(self, disk: u64) -> u64 {
        match self.disk_reserve {
            DISK_RESERVE => DISK_RESERVE.min(disk / SMALL_PART),
            asked => asked,
        }
    }

    /// The error of a step that wants more than there is.
    fn too_much(self, store: &ImageStore) -> Result<StepError, StepError> {
        let disk = rustix::fs::statvfs(store.root()).map_err(std::io::Error::from)?;
        Ok(StepError::DiskReserve {
            path: store.root().to_owned(),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            reserve: self.reserve(disk.f_blocks.saturating_mul(disk.f_frsize)),
        })
    }

    /// Ends with the error when the reserve begins.
    pub(crate) async fn disk_is_used_up(self, store: &ImageStore) -> StepError {
        loop {
            if let Err(error) = self.disk_left(store) {
                return error;
            }
            tokio::time::sleep(DISK_PERIOD).await;
        }
    }
}

/// What a step that copies may still write.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub(crate) bounds: Bounds,
    pub(crate) store: &'a ImageStore,
}

impl Room<'_> {
    /// Bytes that are left.
    pub(crate) fn left(&self) -> Result<u64, StepError> {
        self.bounds.disk_left(self.store)
    }

    /// Fails if a file of this size would use the reserve. Small ones are not worth a look.
    pub(crate) fn for_file(&self, size: u64) -> Result<(), StepError> {
        if size >= WORTH_A_LOOK && self.left()? < size {
            return Err(self.bounds.too_much(self.store)?);
        }
        Ok(())
    }

    /// The error of an archive.
    pub(crate) fn unpacked(&self, error: berth_image::UnpackError) -> StepError {
        match error {
            berth_image::UnpackError::TooManyBytes(limit) if limit < LARGEST_ARCHIVE => self
                .bounds
                .too_much(self.store)
                .unwrap_or_else(|error| error),
            other => other.into(),
        }
    }
}
