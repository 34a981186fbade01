//! Fetching a repository with the `git` program.
//!
//! Git runs with the user's own configuration (credentials, proxies), but asks nobody anything, runs no
//! hooks, and uses no protocols but those that `ADD` names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use tokio::process::Command;

use super::http::shown;
use super::{RemoteError, Repository};

/// Variables that would make git work somewhere else.
const FOREIGN: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];
/// Settings that are ours whatever the user's configuration says.
const SETTINGS: [&str; 6] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.file.allow=never",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    "gc.auto=0",
];

/// Runs git.
#[derive(Clone, Debug)]
pub(super) struct Git {
    /// Socket of the agent with the user's keys.
    pub(super) agent: Option<PathBuf>,
}

impl Git {
    /// The commit that a repository's reference means now.
    pub(super) async fn commit(&self, repository: &Repository) -> Result<String, RemoteError> {
        let reference = repository.reference.as_deref().unwrap_or("HEAD");
        let commit = if is_hash(reference) {
            reference.to_ascii_lowercase()
        } else {
            let here = Path::new("/");
            let url = repository.url.as_str();
            let dereferenced = format!("{reference}^{{}}");
            let arguments = ["ls-remote", "--", url, reference, &dereferenced];
            let listed = self.run(repository, here, &arguments).await?;
            pick(&listed, reference).ok_or_else(|| RemoteError::Reference {
                url: shown(url),
                reference: reference.to_owned(),
            })?
        };
        match &repository.checksum {
            Some(expected) if !commit.starts_with(&expected.to_ascii_lowercase()) => {
                Err(RemoteError::Checksum {
                    url: shown(&repository.url),
                    expected: expected.clone(),
                    found: commit,
                })
            }
            _ => Ok(commit),
        }
    }

    /// Checks a commit out into `directory`, which exists and is empty.
    pub(super) async fn check_out(
        &self,
        repository: &Repository,
        commit: &str,
        directory: &Path,
    ) -> Result<(), RemoteError> {
        let url = repository.url.as_str();
        let run = async |arguments: &[&str]| self.run(repository, directory, arguments).await;
        let format = if commit.len() == 64 { "sha256" } else { "sha1" };
        run(&[
            "init",
            "--quiet",
            "--template=",
            "--object-format",
            format,
            ".",
        ])
        .await?;
        run(&["remote", "add", "origin", url]).await?;
        let one = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "origin",
            commit,
        ];
        if run(&one).await.is_err() {
            // Servers may refuse to send less than everything, or what no reference names.
            let all = [
                "fetch",
                "--quiet",
                "--tags",
                "origin",
                "+refs/*:refs/remotes/origin/*",
            ];
            run(&all).await?;
        }
        run(&["checkout", "--quiet", "--detach", commit]).await?;
        if repository.submodules && directory.join(".gitmodules").exists() {
            let arguments = [
                "submodule",
                "update",
                "--quiet",
                "--init",
                "--recursive",
                "--depth=1",
            ];
            run(&arguments).await?;
        }
        let time = run(&["show", "--no-patch", "--format=%ct", commit]).await?;
        let time = time.trim().parse().unwrap_or(0);
        let (directory, keep) = (directory.to_owned(), repository.keep_git_dir);
        let finish = tokio::task::spawn_blocking(move || {
            if !keep {
                forget_git(&directory)?;
            }
            set_times(&directory, time)
        });
        Ok(finish.await.map_err(std::io::Error::other)??)
    }

    async fn run(
        &self,
        repository: &Repository,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<String, RemoteError> {
        // The shell is there for the umask: modes shall not depend on who builds.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022 && exec git \"$@\"", "git"]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .args(arguments.iter().map(OsStr::new))
            .current_dir(directory)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in FOREIGN {
            command.env_remove(name);
        }
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let output = command.output().await?;
        if output.status.code() == Some(127) {
            return Err(RemoteError::NoGit);
        }
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let mut lines = message.lines().filter(|line| !line.trim().is_empty());
            return Err(RemoteError::Git {
                url: shown(&repository.url),
                message: lines.next_back().unwrap_or("git failed").to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The hash of a reference in the output of `ls-remote`: the full name, a tag, a branch. A tag with a
/// message counts as what it names.
fn pick(listed: &str, reference: &str) -> Option<String> {
    let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
    let full = [
        reference.to_owned(),
        format!("refs/{reference}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
    ];
    full.iter().find_map(|name| {
        let of = |wanted: &str| {
            let mut found = lines().filter(|(_, known)| *known == wanted);
            found.next().map(|(hash, _)| hash.to_owned())
        };
        of(&format!("{name}^{{}}")).or_else(|| of(name))
    })
}

/// Removes git's own files, those of submodules, too.
fn forget_git(directory: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if entry.file_name() == ".git" {
            if kind.is_dir() {
                fs_err::remove_dir_all(entry.path())?;
            } else {
                fs_err::remove_file(entry.path())?;
            }
        } else if kind.is_dir() {
            forget_git(&entry.path())?;
        }
    }
    Ok(())
}

/// Everything gets the commit's time, so that the same commit gives the same layer.
fn set_times(directory: &Path, seconds: i64) -> std::io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_times(&entry.path(), seconds)?;
        } else {
            rustix::fs::utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(rustix::fs::utimensat(
        CWD,
        directory,
        &times,
        AtFlags::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn references_are_found_by_their_short_names() {
        let listed =
            "1\trefs/heads/v1\n2\trefs/tags/v1\n3\trefs/tags/v1^{}\n4\trefs/heads/main\n5\tHEAD\n";
        for (reference, expected) in [
            ("v1", Some("3")),
            ("refs/heads/v1", Some("1")),
            ("heads/v1", Some("1")),
            ("main", Some("4")),
            ("HEAD", Some("5")),
            ("ain", None),
        ] {
            assert_eq!(pick(listed, reference).as_deref(), expected, "{reference}");
        }
    }
}
