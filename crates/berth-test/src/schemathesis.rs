//! Requests of all kinds, good and bad, made from the API's description: schemathesis, from PyPI.

use std::path::Path;
use std::process::{Command, Output};

use crate::World;

/// The version, as the package index has it.
const RELEASE: &str = "schemathesis==4.32.5";

impl World {
    /// Runs it on a description, against a server, to its end.
    pub async fn schemathesis(
        &self,
        description: &Path,
        url: &str,
        token: &str,
        arguments: &[&str],
    ) -> Output {
        let packages = self.cached(
            &format!("{}-packages", RELEASE.replace("==", "-")),
            |directory| {
                pip();
                let status = Command::new("python3")
                    .args(["-m", "pip", "install", "--quiet", "--target"])
                    .arg(directory)
                    .arg(RELEASE)
                    .status()
                    .expect("run pip");
                assert!(status.success(), "pip could not install {RELEASE}");
            },
        );
        let home = tempfile::tempdir().expect("create a directory");
        let mut command = Command::new("python3");
        command
            .args([
                "-c",
                "from schemathesis.cli import schemathesis; schemathesis()",
                "run",
            ])
            .arg(description)
            .args([
                "--url",
                url,
                "--header",
                &format!("Authorization: Bearer {token}"),
            ])
            .args(arguments)
            .env("PYTHONPATH", packages)
            .env("HOME", home.path())
            .env("NO_COLOR", "1")
            .current_dir(home.path());
        crate::run(command, b"").await
    }
}

/// Python's package client, from the machine's own if it is not there.
fn pip() {
    let there = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output();
    if there.is_ok_and(|output| output.status.success()) {
        return;
    }
    let status = Command::new("apt-get")
        .args([
            "install",
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "python3-pip",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .expect("run apt-get");
    assert!(status.success(), "apt-get could not install python3-pip");
}
