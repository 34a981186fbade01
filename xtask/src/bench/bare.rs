//! The program of a benchmark without Berth: executed on the host, asked over loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::http::Client;

/// A running bare program; killed when dropped.
pub(crate) struct Bare {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Bare {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the program and waits for its first answer; says how long that took.
    pub(crate) fn start(argv: &[String]) -> anyhow::Result<(Self, Duration)> {
        // The port is free when it is looked up; nothing else on this machine takes ports meanwhile.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        let child = Command::new(&argv[0])
            .args(&argv[1..])
            // As empty as in a container: Node reads every certificate that a variable names.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("could not start `{}`", argv[0]))?;
        let bare = Self { child, address };
        loop {
            if let Ok(mut client) = Client::connect(address) {
                let (status, _) = client.get("/")?;
                ensure!(status == 200, "the bare program answered {status}");
                return Ok((bare, started.elapsed()));
            }
            ensure!(
                started.elapsed() < Duration::from_secs(20),
                "the bare program never listened"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
