//! The systemd unit is one that systemd understands.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        let status = Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends", "systemd"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        assert!(
            status.unwrap().success(),
            "the Debian package `systemd` cannot be installed"
        );
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/berth.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    // The program need not be installed for that.
    let text = text.replace("/usr/local/bin/berth", env!("CARGO_BIN_EXE_berth"));
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("berth.service");
    std::fs::write(&unit, text).unwrap();
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("berth.service"))
        .collect();
    assert!(output.status.success() && about.is_empty(), "{said}");
}
