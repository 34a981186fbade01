//! `SOURCE_DATE_EPOCH`: nothing that a build makes is newer.
//!
//! As BuildKit has it with `rewrite-timestamp`: files of new layers, the history's lines and the
//! image's own time are set back to it; what is older stays as it is, and so does the base image.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

/// Name of the build argument.
pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) u64);

impl Epoch {
    /// A file's time (seconds, nanoseconds) as it will be.
    pub(crate) fn clamp(self, time: (i64, i64)) -> (i64, i64) {
        time.min((i64::try_from(self.0).unwrap_or(i64::MAX), 0))
    }

    /// Sets back everything in a tree that is newer, and touches nothing else.
    pub(crate) fn clamp_times(self, tree: &Path) -> io::Result<()> {
        for entry in fs_err::read_dir(tree)? {
            let path = entry?.path();
            let metadata = fs_err::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.clamp_times(&path)?;
            }
            let time = (metadata.mtime(), metadata.mtime_nsec());
            let (seconds, nanos) = self.clamp(time);
            if time > (seconds, nanos) {
                let times = Timestamps {
                    last_access: Timespec {
                        tv_sec: 0,
                        tv_nsec: UTIME_OMIT,
                    },
                    last_modification: Timespec {
                        tv_sec: seconds,
                        tv_nsec: nanos,
                    },
                };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }
}
