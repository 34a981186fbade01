//! Writing a frozen container to disk with CRIU: whether it can be done, and if not why.
//!
//! CRIU is asked to write the processes and to leave them as they are. Its answer on today's
//! sandboxes is no: it refuses processes in a user namespace whose other namespaces (network, host
//! name, mounts, pids) belong to another one, and the jail makes those before it enters the user
//! namespace, because the layers must be mounted with the host's rights ("One or more namespaces
//! doesn't belong to the target user namespace", CRIU 4.1.1). Nothing here restores, so nothing is
//! ever ended: a container that could be written says that, and stays frozen, too.
//!
//! Owner: a task of the container's actor. Invariant: no images remain, and the processes live.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Longest attempt.
const LIMIT: Duration = Duration::from_secs(60);

/// CRIU's log in the images' directory.
const LOG: &str = "dump.log";

/// Why the container whose first process is `pid` cannot be written to `dir`.
pub(crate) async fn why_not(criu: Option<&Path>, pid: u32, dir: &Path) -> String {
    let Some(criu) = criu else {
        return "cannot be written to disk: this machine has no `criu`".to_owned();
    };
    let outcome = dump(criu, pid, dir).await;
    // Nothing of it is of use; what cannot be removed now goes with the container.
    let _ = fs_err::tokio::remove_dir_all(dir).await;
    match outcome {
        Ok(()) => "cannot be written to disk: nothing could restore it".to_owned(),
        Err(reason) => format!("cannot be written to disk: {reason}"),
    }
}

async fn dump(criu: &Path, pid: u32, dir: &Path) -> Result<(), String> {
    let made = std::fs::DirBuilder::new().create(dir);
    made.and_then(|()| private(dir))
        .map_err(|error| format!("no directory for it: {error}"))?;
    let ran = Command::new(criu)
        .args(["dump", "--tree", &pid.to_string(), "--images-dir"])
        .arg(dir)
        .args(["--manage-cgroups=ignore", "--tcp-close", "--ext-unix-sk"])
        .args(["--leave-running", "--log-file", LOG, "-v1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = match tokio::time::timeout(LIMIT, ran).await {
        Err(_) => return Err(format!("criu took longer than {} s", LIMIT.as_secs())),
        Ok(Err(error)) => return Err(format!("criu could not be run: {error}")),
        Ok(Ok(status)) => status,
    };
    if status.success() {
        return Ok(());
    }
    let log = fs_err::tokio::read_to_string(dir.join(LOG)).await;
    Err(reason(&log.unwrap_or_default())
        .unwrap_or_else(|| format!("criu failed ({status}) without a reason")))
}

/// Memory is in there: for root only, whatever the umask says.
fn private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// The last error in CRIU's log but its closing line, without time and place in its source.
fn reason(log: &str) -> Option<String> {
    log.lines()
        .filter_map(|line| line.split_once("Error (")?.1.split_once("): "))
        .map(|(_, text)| text.trim())
        .rfind(|text| !text.is_empty() && *text != "Dumping FAILED.")
        .map(|text| format!("criu says: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error_before_the_closing_one() {
        let log = "(00.130) Warn  (criu/x.c:1): something\n\
                   (00.131) Error (criu/util.c:1533): rlimit: no\n\
                   (00.137) Error (criu/namespaces.c:997): One or more namespaces doesn't belong\n\
                   (00.388) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        let expected = "criu says: One or more namespaces doesn't belong";
        assert_eq!(reason(log).as_deref(), Some(expected));
        assert_eq!(reason("nothing"), None);
    }

    #[tokio::test]
    async fn without_criu_and_with_a_broken_one_it_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("checkpoint");
        let none = why_not(None, 1, &dir).await;
        assert!(none.ends_with("has no `criu`"), "{none}");
        let broken = why_not(Some(Path::new("/bin/false")), 1, &dir).await;
        assert!(broken.contains("without a reason"), "{broken}");
        let missing = why_not(Some(Path::new("/nope")), 1, &dir).await;
        assert!(missing.contains("could not be run"), "{missing}");
        assert!(!dir.exists());
    }
}
