//! A `berth dev` session under measurement.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::ci::root;

/// A running session; ended when dropped.
pub(crate) struct Dev {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Dev {
    /// Builds the program in release mode, starts the project and waits until it is ready.
    pub(crate) fn start(project: &Path) -> anyhow::Result<Self> {
        let status = Command::new("cargo")
            .args(["build", "--release", "--package", "berth"])
            .current_dir(root())
            .status()
            .context("could not start cargo")?;
        ensure!(status.success(), "the release build failed: {status}");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        let mut child = Command::new(target.join("release/berth"))
            .args(["dev", "--json", "--port", "0", "--ip", "127.0.0.1"])
            .arg(project)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start berth")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let url = loop {
            let line = lines.next().context("berth ended before it was ready")??;
            let event: serde_json::Value =
                serde_json::from_str(&line).with_context(|| format!("not an event: {line}"))?;
            if event["event"] == "error" {
                println!("{line}");
            }
            if event["event"] == "ready" {
                break event["url"]
                    .as_str()
                    .context("an event without its url")?
                    .to_owned();
            }
        };
        // What it prints from here on is read so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = url
            .trim_start_matches("http://")
            .replace("localhost", "127.0.0.1");
        Ok(Self {
            child,
            address: address.parse().with_context(|| format!("bad url {url}"))?,
        })
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}
