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

/// Bundles that the system's programs trust (Debian, Fedora, SUSE, Alpine).
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Runs git.
#[derive(Debug)]
pub(super) struct Git {
    /// Socket of the agent with the user's keys.
    agent: Option<PathBuf>,
    /// PEM file of certificate authorities besides the host's.
    ca_bundle: Option<PathBuf>,
}

/// Settings that git gets from us for talking to a server.
#[derive(Debug, Default)]
struct Additions {
    /// `GIT_SSH_COMMAND`.
    ssh: Option<&'static str>,
    /// `GIT_SSL_CAINFO`: the authorities that git would trust, and those of the build.
    bundle: Option<tempfile::NamedTempFile>,
}

impl Git {
    pub(super) fn new(agent: Option<PathBuf>, ca_bundle: Option<PathBuf>) -> Self {
        Self { agent, ca_bundle }
    }

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

    /// Nobody is asked anything, unless the user has another way with ssh. Git's library does not look
    /// at `SSL_CERT_FILE`, which everything else here honours.
    async fn additions(&self, url: &str) -> std::io::Result<Additions> {
        if !url.starts_with("http") {
            let has_own = std::env::var_os("GIT_SSH_COMMAND").is_some()
                || setting(&["core.sshCommand"]).await.is_some();
            let ssh = (!has_own).then_some("ssh -o BatchMode=yes");
            return Ok(Additions { ssh, bundle: None });
        }
        let Some(more) = &self.ca_bundle else {
            return Ok(Additions::default());
        };
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let own = match variable("GIT_SSL_CAINFO") {
            Some(path) => Some(path),
            None => match setting(&["--get-urlmatch", "http.sslCAInfo", url]).await {
                Some(path) => Some(PathBuf::from(path)),
                None => variable("SSL_CERT_FILE").or_else(|| {
                    let mut bundles = SYSTEM_BUNDLES.iter().map(PathBuf::from);
                    bundles.find(|path| path.is_file())
                }),
            },
        };
        Ok(Additions {
            ssh: None,
            bundle: Some(joined(more, own.as_deref())?),
        })
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
        let talks = matches!(
            arguments.first(),
            Some(&("ls-remote" | "fetch" | "submodule"))
        );
        let additions = match talks {
            true => self.additions(&repository.url).await?,
            false => Additions::default(),
        };
        if let Some(ssh) = additions.ssh {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        if let Some(bundle) = &additions.bundle {
            command.env("GIT_SSL_CAINFO", bundle.path());
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let output = command.output().await?;
        if output.status.code() == Some(127) {
            return Err(RemoteError::NoGit);
        }
        if !output.status.success() {
            return Err(RemoteError::Git {
                url: shown(&repository.url),
                message: complaint(&String::from_utf8_lossy(&output.stderr)),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A setting of the user's configuration.
async fn setting(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["config", "--type=path"])
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .await;
    // A missing git is told by what it was wanted for.
    let value = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Two bundles in one file.
fn joined(more: &Path, own: Option<&Path>) -> std::io::Result<tempfile::NamedTempFile> {
    use std::io::Write as _;
    let mut file = tempfile::Builder::new().prefix("berth-ca-").tempfile()?;
    file.write_all(&fs_err::read(more)?)?;
    if let Some(own) = own.filter(|own| *own != more) {
        file.write_all(b"\n")?;
        file.write_all(&fs_err::read(own)?)?;
    }
    file.flush()?;
    Ok(file)
}

/// What git wrote, in one line, without its advice for a person at a keyboard.
fn complaint(written: &str) -> String {
    let advice = |line: &&str| {
        line.starts_with("Please make sure you have")
            || line.starts_with("and the repository exists")
    };
    let lines: Vec<&str> = written
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !advice(line))
        .collect();
    match lines.as_slice() {
        [] => "git failed".to_owned(),
        // Ssh says why, git that.
        [.., before, "fatal: Could not read from remote repository."] => (*before).to_owned(),
        [.., last] => (*last).to_owned(),
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
    use super::{complaint, pick};

    #[test]
    fn the_reason_is_shown_rather_than_the_advice() {
        let said = "root@h: Permission denied (publickey).\r\n\
            fatal: Could not read from remote repository.\n\n\
            Please make sure you have the correct access rights\nand the repository exists.\n";
        assert_eq!(complaint(said), "root@h: Permission denied (publickey).");
        assert_eq!(complaint("warning: x\nfatal: no\n"), "fatal: no");
        assert_eq!(complaint("\n"), "git failed");
    }

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
