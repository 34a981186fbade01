//! Writing a frozen container to disk with CRIU and making it again, and why if not.
//!
//! [`berth_jail::Sandbox::checkpoint`] runs CRIU; here are the images' directory, the time that it
//! may take, and CRIU's reason. What cannot be written: a container without CRIU on this machine, one
//! that may mount file systems, and what CRIU itself does not know (its own words are in the log).
//!
//! Owner: a task of the container's actor. Invariants: images are for root only and exist from a
//! successful checkpoint until the restoration, whichever way that ends; a container that could not
//! be written lives.

mod inventory;

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_jail::{Criu, JailError};

use crate::launch::Guest;

/// Longest run of CRIU. Gigabytes on a slow disk take a while.
const LIMIT: Duration = Duration::from_secs(120);

/// What CRIU calls errors and can do without: a higher limit of its own, ways to ask for sockets of
/// kinds that nobody has, a device that it only tries out.
const HARMLESS: [&str; 3] = [
    "rlimit:",
    "sockets: Diag module missing",
    "tun: Unable to create",
];

/// Why a container is not on disk.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// It has ended, for another reason.
    Ended,
    /// For people.
    Because(String),
}

impl<T: Into<String>> From<T> for NotWritten {
    fn from(reason: T) -> Self {
        Self::Because(format!("cannot be written to disk: {}", reason.into()))
    }
}

/// Writes `guest` to `dir`, which is made for that.
///
/// # Errors
/// Why not; nothing of it is left on disk then.
pub(crate) async fn write<G: Guest>(
    criu: Option<PathBuf>,
    guest: &G,
    dir: &Path,
) -> Result<(), NotWritten> {
    let written = try_write(criu, guest, dir).await;
    if written.is_err() {
        remove(dir).await;
    }
    written
}

async fn try_write<G: Guest>(
    criu: Option<PathBuf>,
    guest: &G,
    dir: &Path,
) -> Result<(), NotWritten> {
    let program = criu.ok_or("this machine has no `criu`")?;
    private(dir).map_err(|error| format!("no directory for it: {error}"))?;
    let criu = Criu {
        program,
        images: dir.to_owned(),
    };
    match tokio::time::timeout(LIMIT, guest.checkpoint(criu)).await {
        Ok(Ok(())) => {
            if let Err(error) = inventory::write(dir) {
                // Its processes have ended: whether it can be restored shows then.
                tracing::warn!(%error, "cannot list the images of a checkpoint");
            }
            Ok(())
        }
        Ok(Err(JailError::Gone | JailError::ZygoteGone)) => Err(NotWritten::Ended),
        Ok(Err(error)) => Err(explain(&error, &dir.join("dump.log")).await.into()),
        Err(_) => {
            // In the middle of it nobody knows what the processes are.
            let _ = guest.kill_all().await;
            Err(format!("criu took longer than {} s", LIMIT.as_secs()).into())
        }
    }
}

/// Makes `guest` again from `dir`, which goes.
///
/// # Errors
/// Why not, for people; the guest has ended then.
pub(crate) async fn restore<G: Guest>(
    criu: Option<PathBuf>,
    guest: &G,
    dir: &Path,
) -> Result<(), String> {
    let restored = match inventory::check(dir) {
        Ok(()) => try_restore(criu, guest, dir).await,
        Err(reason) => {
            let _ = guest.kill_all().await;
            Err(reason)
        }
    };
    remove(dir).await;
    restored.map_err(|reason| format!("cannot be restored from disk: {reason}"))
}

async fn try_restore<G: Guest>(criu: Option<PathBuf>, guest: &G, dir: &Path) -> Result<(), String> {
    let program = criu.ok_or("this machine has no `criu`")?;
    let criu = Criu {
        program,
        images: dir.to_owned(),
    };
    match tokio::time::timeout(LIMIT, guest.restore(criu)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(explain(&error, &dir.join("restore.log")).await),
        Err(_) => {
            let _ = guest.kill_all().await;
            Err(format!("criu took longer than {} s", LIMIT.as_secs()))
        }
    }
}

/// Nobody needs the images any more.
pub(crate) async fn remove(dir: &Path) {
    match fs_err::tokio::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot delete a checkpoint");
        }
        _ => {}
    }
}

/// Memory is in there: for root only, whatever the umask says.
fn private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// CRIU's own words if it has any.
async fn explain(error: &JailError, log: &Path) -> String {
    let text = fs_err::tokio::read_to_string(log).await;
    match reason(&text.unwrap_or_default()) {
        Some(reason) if matches!(error, JailError::Criu(_)) => reason,
        _ => berth_error::chain(error),
    }
}

/// The first error in CRIU's log, which the others follow from, without time and place in its source.
fn reason(log: &str) -> Option<String> {
    log.lines()
        .filter_map(|line| line.split_once("Error (")?.1.split_once("): "))
        .map(|(_, text)| text.trim())
        .find(|text| !text.is_empty() && !HARMLESS.iter().any(|start| text.starts_with(start)))
        .map(|text| format!("criu says: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_error() {
        let log = "(00.130) Warn  (criu/x.c:1): something\n\
                   (00.131) Error (criu/util.c:1533): rlimit: no\n\
                   (00.132) Error (criu/sockets.c:1): sockets: Diag module missing (-116)\n\
                   (00.137) Error (criu/namespaces.c:997): One or more namespaces doesn't belong\n\
                   (00.137) Error (criu/cr-dump.c:1681): Dump namespaces failed with -1\n\
                   (00.388) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        let expected = "criu says: One or more namespaces doesn't belong";
        assert_eq!(reason(log).as_deref(), Some(expected));
        let log = "(00.071)      1: Error (criu/image.c:635): Unable to open x.img: Permission denied\n\
                   (00.073) Error (criu/cr-restore.c:2331): Restoring FAILED.\n\
                   (00.076) Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No such file\n";
        let expected = "criu says: Unable to open x.img: Permission denied";
        assert_eq!(reason(log).as_deref(), Some(expected));
        assert_eq!(reason("nothing"), None);
    }
}
