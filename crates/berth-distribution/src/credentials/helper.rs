//! Credential helpers: programs `docker-credential-<name>` that keep secrets elsewhere.
//!
//! The protocol (docker-credential-helpers): one verb as the argument, the request on standard input,
//! JSON on standard output; a failure is a text on standard output and an exit code that is not 0.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Credential, CredentialError, docker_config};

/// What helpers say when they do not know a server.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// Most of a helper's words that are shown.
const SHOWN: usize = 200;

/// One helper program.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
    timeout: Duration,
    named_by: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    pub(super) fn new(name: &str, timeout: Duration, named_by: &Path) -> Self {
        Self {
            program: format!("docker-credential-{name}"),
            timeout,
            named_by: named_by.to_owned(),
        }
    }

    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let output = self.run("get", server).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            if text.trim() == NOT_FOUND {
                return Ok(None);
            }
            return Err(self.failed("get", &output));
        }
        let found: Found = serde_json::from_slice(&output.stdout).map_err(|error| {
            self.problem(format!("answered something that is not JSON: {error}"))
        })?;
        if found.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(docker_config::from_helper(
            found.username,
            found.secret,
            &self.program,
        )))
    }

    pub(super) async fn store(
        &self,
        server: &str,
        username: &str,
        secret: &str,
    ) -> Result<(), CredentialError> {
        let request = json!({ "ServerURL": server, "Username": username, "Secret": secret });
        self.must("store", &request.to_string()).await
    }

    pub(super) async fn erase(&self, server: &str) -> Result<(), CredentialError> {
        self.must("erase", server).await
    }

    async fn must(&self, verb: &str, input: &str) -> Result<(), CredentialError> {
        let output = self.run(verb, input).await?;
        if output.status.success() {
            Ok(())
        } else {
            Err(self.failed(verb, &output))
        }
    }

    async fn run(&self, verb: &str, input: &str) -> Result<std::process::Output, CredentialError> {
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => CredentialError::NoHelper {
                    program: self.program.clone(),
                    named_by: self.named_by.clone(),
                },
                _ => self.problem(format!("cannot be run: {error}")),
            })?;
        let mut stdin = child.stdin.take();
        let work = async {
            if let Some(stdin) = &mut stdin {
                // A helper that does not read has its reasons; its answer counts.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            drop(stdin);
            child.wait_with_output().await
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(self.problem(format!("cannot be waited for: {error}"))),
            Err(_) => {
                Err(self.problem(format!("did not answer `{verb}` within {:?}", self.timeout)))
            }
        }
    }

    fn failed(&self, verb: &str, output: &std::process::Output) -> CredentialError {
        // By the protocol the reason is on standard output, which a failed `get` has no secret on.
        let words = [&output.stdout, &output.stderr]
            .into_iter()
            .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
            .find(|text| !text.is_empty())
            .unwrap_or_else(|| output.status.to_string());
        let words: String = words
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN)
            .collect();
        self.problem(format!("failed at `{verb}`: {words}"))
    }

    fn problem(&self, problem: String) -> CredentialError {
        CredentialError::Helper {
            program: self.program.clone(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;
    use crate::credentials::Secret;

    /// A helper with this script behind it.
    fn helper(script: &str, timeout: Duration) -> (tempfile::TempDir, Helper) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let helper = Helper {
            program: program.display().to_string(),
            timeout,
            named_by: "/home/me/.docker/config.json".into(),
        };
        (directory, helper)
    }

    const PATIENT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_protocol_is_spoken() {
        let script = r#"read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"$server!\"}""#;
        let (_directory, helper) = helper(script, PATIENT);
        let found = helper.get("r.example.com").await.unwrap().unwrap();
        assert_eq!(found.username(), Some("get"));
        assert_eq!(found.reveal_password(), Some("r.example.com!"));
        assert!(found.source.contains("docker-credential-test"));
    }

    #[tokio::test]
    async fn an_identity_token_is_not_taken_for_a_password() {
        let script = r#"echo '{"Username":"<token>","Secret":"long-lived"}'"#;
        let (_directory, helper) = helper(script, PATIENT);
        let found = helper.get("r.example.com").await.unwrap().unwrap();
        assert!(matches!(found.secret, Secret::Identity(token) if token == "long-lived"));
    }

    #[tokio::test]
    async fn what_is_not_known_is_no_error_and_what_fails_is_one() {
        let (_directory, unknown) = helper(&format!("echo '{NOT_FOUND}'; exit 1"), PATIENT);
        assert!(unknown.get("x").await.unwrap().is_none());
        for (script, expected) in [
            ("echo locked; exit 1", "failed at `get`: locked"),
            ("echo broken >&2; exit 2", "failed at `get`: broken"),
            ("kill -9 $$", "failed at `get`: signal: 9"),
            ("echo '{'", "answered something that is not JSON"),
        ] {
            let (_directory, helper) = helper(script, PATIENT);
            let error = helper.get("x").await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        // It may end without reading what it is told.
        let (_directory, deaf) = helper("exec true", PATIENT);
        deaf.store("x", "me", &"s".repeat(100_000)).await.unwrap();
    }

    #[tokio::test]
    async fn a_helper_has_a_time_limit() {
        let (_directory, slow) = helper("exec sleep 600", Duration::from_millis(200));
        let begin = Instant::now();
        let error = slow.erase("x").await.unwrap_err().to_string();
        assert!(
            error.contains("did not answer `erase` within 200ms"),
            "{error}"
        );
        assert!(begin.elapsed() < PATIENT);
    }
}
