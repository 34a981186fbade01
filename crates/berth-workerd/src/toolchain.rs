//! workerd, esbuild and `@cloudflare/containers` from npm, at the versions the repository pins.
//!
//! `tools/package.json` and `tools/package-lock.json` are compiled into the binary. They are
//! installed once, with `npm ci`, into `<cache>/tools/<hash of both>`; the directory appears by one
//! rename, so that its existence means that it is complete. Nothing of npm or Node.js runs later:
//! the packages hold plain executables.

mod install;

use std::path::{Path, PathBuf};

use berth_error::Hint;
use sha2::{Digest as _, Sha256};

const PACKAGE_JSON: &str = include_str!("../../../tools/package.json");
const PACKAGE_LOCK: &str = include_str!("../../../tools/package-lock.json");

/// The pinned tools, installed. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The workerd executable.
    pub workerd: PathBuf,
    /// The esbuild executable.
    pub esbuild: PathBuf,
    /// Directory of Berth's own copy of the npm package `@cloudflare/containers`.
    pub containers_package: PathBuf,
    /// The same package at 0.0.x, which the tests of old projects use.
    pub containers_package_0_0: PathBuf,
}

/// What [`Toolchain::ensure`] is doing. Nothing is reported when everything is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolchainEvent {
    /// Another process is installing into the same cache; waiting for it.
    Waiting,
    /// npm has been started; lists `name version` of what it brings.
    Installing(Vec<String>),
    /// One line of progress, such as `fetched workerd-linux-64-1.20261117.1.tgz`.
    Output(String),
    /// Done.
    Installed,
}

/// Why the tools could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// `npm` is not in `PATH`.
    #[error("npm is needed once, to install workerd and esbuild, and was not found")]
    NpmMissing,
    /// The package registry could not be reached.
    #[error("workerd and esbuild could not be installed: npm does not reach its registry")]
    Offline {
        /// npm's last words.
        output: String,
    },
    /// npm failed for another reason.
    #[error("workerd and esbuild could not be installed: npm ended with {status}\n{output}")]
    Npm {
        /// Exit status in words.
        status: String,
        /// npm's last words.
        output: String,
    },
    /// The packages do not hold the file that is expected.
    #[error("`{path}` is not in the installed packages")]
    Incomplete {
        /// The missing file.
        path: PathBuf,
    },
    /// workerd is not published for this processor.
    #[error("workerd is not available for {0}")]
    Platform(&'static str),
    /// The cache directory cannot be used.
    #[error("could not {action} `{path}`")]
    Cache {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for ToolchainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NpmMissing => Some("install it, on Debian with `apt-get install npm`".to_owned()),
            Self::Offline { .. } => Some(
                "connect this machine to the network for the first start; later ones need none"
                    .to_owned(),
            ),
            Self::Incomplete { path } => Some(format!(
                "remove the directory and start again: {}",
                path.parent().unwrap_or(path).display()
            )),
            Self::Npm { .. } | Self::Platform(_) | Self::Cache { .. } => None,
        }
    }
}

impl Toolchain {
    /// Makes sure that the tools are in `<cache_dir>/tools/<hash of the lock file>`: reuses them
    /// without starting npm when they are complete, installs them otherwise. Processes that share
    /// the cache wait for each other.
    ///
    /// # Errors
    ///
    /// Every way in which [`ToolchainError`] says it failed; nothing half-installed is left behind.
    pub async fn ensure(
        cache_dir: &Path,
        mut progress: impl FnMut(ToolchainEvent) + Send,
    ) -> Result<Self, ToolchainError> {
        let tools = std::path::absolute(cache_dir)
            .map_err(|source| cache_error("resolve", cache_dir, source))?
            .join("tools");
        let directory = tools.join(lock_hash());
        if !directory.is_dir() {
            install::install(&tools, &directory, &mut progress).await?;
        }
        Self::locate(&directory)
    }

    /// The tools in an installed directory.
    fn locate(directory: &Path) -> Result<Self, ToolchainError> {
        let (workerd, esbuild) = match std::env::consts::ARCH {
            "x86_64" => ("workerd-linux-64", "linux-x64"),
            "aarch64" => ("workerd-linux-arm64", "linux-arm64"),
            other => return Err(ToolchainError::Platform(other)),
        };
        let modules = directory.join("node_modules");
        let toolchain = Self {
            workerd: modules
                .join("@cloudflare")
                .join(workerd)
                .join("bin/workerd"),
            esbuild: modules.join("@esbuild").join(esbuild).join("bin/esbuild"),
            containers_package: modules.join("@cloudflare/containers"),
            containers_package_0_0: modules.join("containers-0.0"),
        };
        for path in [
            &toolchain.workerd,
            &toolchain.esbuild,
            &toolchain.containers_package,
            &toolchain.containers_package_0_0,
        ] {
            if !path.exists() {
                return Err(ToolchainError::Incomplete { path: path.clone() });
            }
        }
        Ok(toolchain)
    }
}

/// Names the directory: another set of pins is another directory.
fn lock_hash() -> String {
    let mut hash = Sha256::new();
    hash.update(PACKAGE_JSON);
    hash.update([0]);
    hash.update(PACKAGE_LOCK);
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn cache_error(action: &'static str, path: &Path, source: std::io::Error) -> ToolchainError {
    ToolchainError::Cache {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_no_registry_and_has_an_integrity_for_every_package() {
        assert!(!PACKAGE_LOCK.contains("\"resolved\""));
        assert!(!PACKAGE_LOCK.contains("://"));
        let lock: serde_json::Value = serde_json::from_str(PACKAGE_LOCK).unwrap();
        for (name, package) in lock["packages"].as_object().unwrap() {
            if !name.is_empty() {
                assert!(package["integrity"].is_string(), "{name}");
            }
        }
    }

    #[test]
    fn every_pin_is_an_exact_version() {
        let package: serde_json::Value = serde_json::from_str(PACKAGE_JSON).unwrap();
        let sections = ["dependencies", "optionalDependencies"];
        let pins = sections.map(|section| package[section].as_object().unwrap());
        for (name, version) in pins.into_iter().flatten() {
            let version = version.as_str().unwrap().rsplit('@').next().unwrap();
            assert!(
                version.split('.').all(|part| part.parse::<u32>().is_ok()),
                "{name} {version}"
            );
        }
    }
}
