//! Running `npm ci` into the cache, once, even when several processes want it.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{PACKAGE_JSON, PACKAGE_LOCK, ToolchainError, ToolchainEvent, cache_error};

/// Lines of npm that are kept for an error.
const KEPT_LINES: usize = 40;

/// Installs into `directory`, a child of `tools` that does not exist.
pub(super) async fn install(
    tools: &Path,
    directory: &Path,
    progress: &mut (dyn FnMut(ToolchainEvent) + Send),
) -> Result<(), ToolchainError> {
    fs_err::create_dir_all(tools).map_err(|source| cache_error("create", tools, source))?;
    let _lock = lock(&directory.with_extension("lock"), progress).await?;
    if directory.is_dir() {
        return Ok(());
    }
    let staging = Staging::new(directory.with_extension("partial"))?;
    for (name, text) in [
        ("package.json", PACKAGE_JSON),
        ("package-lock.json", PACKAGE_LOCK),
    ] {
        let path = staging.0.join(name);
        fs_err::write(&path, text).map_err(|source| cache_error("write", &path, source))?;
    }
    progress(ToolchainEvent::Installing(pins()));
    npm_ci(&staging.0, progress).await?;
    super::Toolchain::locate(&staging.0)?;
    flush(&staging.0).await?;
    fs_err::rename(&staging.0, directory)
        .map_err(|source| cache_error("create", directory, source))?;
    progress(ToolchainEvent::Installed);
    Ok(())
}

/// Waits until all of it is on the disk: what has its name is whole, also after a power cut.
async fn flush(directory: &Path) -> Result<(), ToolchainError> {
    let path = directory.to_owned();
    let flushed = tokio::task::spawn_blocking(move || {
        let opened = File::open(path)?;
        rustix::fs::syncfs(&opened).map_err(std::io::Error::from)
    });
    let flushed = flushed
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    flushed.map_err(|source| cache_error("flush", directory, source))
}

/// A directory that is removed again unless it has been renamed away.
struct Staging(PathBuf);

impl Staging {
    fn new(path: PathBuf) -> Result<Self, ToolchainError> {
        if path.exists() {
            fs_err::remove_dir_all(&path).map_err(|source| cache_error("remove", &path, source))?;
        }
        fs_err::create_dir(&path).map_err(|source| cache_error("create", &path, source))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs_err::remove_dir_all(&self.0)
        {
            tracing::warn!(%error, "could not remove a partial installation");
        }
    }
}

/// Takes the lock that serialises installations; it is released when the file is closed.
async fn lock(
    path: &Path,
    progress: &mut (dyn FnMut(ToolchainEvent) + Send),
) -> Result<File, ToolchainError> {
    let file = File::create(path).map_err(|source| cache_error("create", path, source))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(file);
    }
    progress(ToolchainEvent::Waiting);
    let locked = tokio::task::spawn_blocking(move || {
        flock(&file, FlockOperation::LockExclusive).map(|()| file)
    })
    .await;
    match locked {
        Ok(result) => result.map_err(|source| cache_error("lock", path, source.into())),
        Err(error) => Err(cache_error("lock", path, std::io::Error::other(error))),
    }
}

/// `name version` of every package that this machine needs.
fn pins() -> Vec<String> {
    let package: serde_json::Value = serde_json::from_str(PACKAGE_JSON).unwrap_or_default();
    let (workerd, esbuild) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "arm64"),
        _ => ("64", "x64"),
    };
    ["optionalDependencies", "dependencies"]
        .iter()
        .filter_map(|section| package[section].as_object())
        .flatten()
        .filter_map(|(name, version)| {
            let version = version.as_str().unwrap_or_default();
            if let Some(tool) = name.strip_prefix("@cloudflare/workerd-linux-") {
                return (tool == workerd).then(|| format!("workerd {version}"));
            }
            if let Some(tool) = name.strip_prefix("@esbuild/linux-") {
                return (tool == esbuild).then(|| format!("esbuild {version}"));
            }
            let alias = version
                .strip_prefix("npm:")
                .and_then(|alias| alias.rsplit_once('@'));
            let (name, version) = alias.unwrap_or((name, version));
            Some(format!("{name} {version}"))
        })
        .collect()
}

async fn npm_ci(
    directory: &Path,
    progress: &mut (dyn FnMut(ToolchainEvent) + Send),
) -> Result<(), ToolchainError> {
    let mut child = Command::new("npm")
        // The packages' install scripts only link the platform's executable, which is used directly.
        .args(["ci", "--ignore-scripts", "--include=optional", "--no-audit"])
        .args([
            "--no-fund",
            "--no-progress",
            "--loglevel=http",
            "--prefer-offline",
        ])
        .current_dir(directory)
        .env("NO_UPDATE_NOTIFIER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ToolchainError::NpmMissing,
            _ => cache_error("start npm in", directory, source),
        })?;
    let mut kept = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match fetched(&line) {
                Some(file) => progress(ToolchainEvent::Output(format!("fetched {file}"))),
                None if line.starts_with("npm http") => {}
                None => {
                    kept.push_back(line);
                    if kept.len() > KEPT_LINES {
                        kept.pop_front();
                    }
                }
            }
        }
    }
    let status = child
        .wait()
        .await
        .map_err(|source| cache_error("run npm in", directory, source))?;
    if status.success() {
        return Ok(());
    }
    Err(failure(status.to_string(), kept))
}

/// The file name in a line such as `npm http fetch GET 200 <address>/esbuild-0.28.2.tgz 61ms`.
fn fetched(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("npm http fetch GET 200 ")?;
    let file = rest.split_whitespace().next()?.rsplit('/').next()?;
    file.ends_with(".tgz").then_some(file)
}

fn failure(status: String, kept: VecDeque<String>) -> ToolchainError {
    const NETWORK: [&str; 7] = [
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ECONNRESET",
        "ETIMEDOUT",
        "ENETUNREACH",
        "ENOTCACHED",
    ];
    let offline = kept
        .iter()
        .any(|line| NETWORK.iter().any(|code| line.contains(code)));
    let output = Vec::from(kept).join("\n");
    if offline {
        ToolchainError::Offline { output }
    } else {
        ToolchainError::Npm { status, output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_line_gives_the_file_name() {
        assert_eq!(
            fetched(
                "npm http fetch GET 200 https://r.example/esbuild/-/esbuild-0.28.2.tgz 61ms (cache miss)"
            ),
            Some("esbuild-0.28.2.tgz")
        );
        assert_eq!(
            fetched("npm http fetch GET 404 https://r.example/x.tgz 1ms"),
            None
        );
        assert_eq!(fetched("npm error code E404"), None);
    }

    #[test]
    fn a_network_code_means_offline() {
        let lines = |line: &str| VecDeque::from([line.to_owned()]);
        assert!(matches!(
            failure(
                "exit status: 1".to_owned(),
                lines("npm error code ENOTFOUND")
            ),
            ToolchainError::Offline { .. }
        ));
        assert!(matches!(
            failure("exit status: 1".to_owned(), lines("npm error code EACCES")),
            ToolchainError::Npm { .. }
        ));
    }

    #[test]
    fn pins_are_listed_under_their_real_names() {
        let pins = pins();
        for pin in [
            "workerd 1.20261117.1",
            "esbuild 0.28.2",
            "@cloudflare/containers 0.3.7",
            "@cloudflare/containers 0.0.31",
        ] {
            assert!(pins.contains(&pin.to_owned()), "{pin}: {pins:?}");
        }
        assert_eq!(pins.len(), 4);
    }
}
