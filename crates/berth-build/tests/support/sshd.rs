//! OpenSSH's server, one process for each connection, with keys and a configuration of its own; and an
//! agent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "support of tests")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SERVER: &str = "/usr/sbin/sshd";
/// Where the server locks its first process in; it must exist.
const PRISON: &str = "/run/sshd";

pub(crate) struct Sshd {
    address: SocketAddr,
    /// `ed25519`, `rsa`: allowed; `stranger`: not; `locked`: has a passphrase.
    keys: PathBuf,
    logins: Arc<AtomicUsize>,
    made_prison: bool,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

impl Sshd {
    /// Makes keys in `directory` and listens.
    pub(crate) fn start(directory: &Path) -> Self {
        if !Path::new(SERVER).exists() {
            berth_conformance::base::install(&["openssh-server", "openssh-client"]).unwrap();
        }
        let made_prison = std::fs::create_dir(PRISON).is_ok();
        let keys = directory.join("keys");
        std::fs::create_dir(&keys).unwrap();
        for (name, kind, passphrase) in [
            ("host", "ed25519", ""),
            ("ed25519", "ed25519", ""),
            ("rsa", "rsa", ""),
            ("stranger", "ed25519", ""),
            ("locked", "ed25519", "secret"),
        ] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-N", passphrase, "-m"])
                .arg(if kind == "rsa" { "PEM" } else { "RFC4716" })
                .arg("-f")
                .arg(keys.join(name)));
        }
        let public = |name: &str| std::fs::read_to_string(keys.join(name)).unwrap();
        let allowed = public("ed25519.pub") + &public("rsa.pub");
        std::fs::write(keys.join("allowed"), allowed).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let host = public("host.pub");
        let known = format!("[127.0.0.1]:{} {host}", address.port());
        std::fs::write(keys.join("known_hosts"), known).unwrap();
        let here = keys.display();
        std::fs::write(
            keys.join("sshd_config"),
            format!(
                "HostKey {here}/host\nAuthorizedKeysFile {here}/allowed\nUsePAM no\nStrictModes no\n\
                 PermitRootLogin prohibit-password\nPasswordAuthentication no\nPidFile none\n\
                 KbdInteractiveAuthentication no\n"
            ),
        )
        .unwrap();
        std::fs::write(
            keys.join("ssh_config"),
            format!(
                "UserKnownHostsFile {here}/known_hosts\nGlobalKnownHostsFile none\nBatchMode yes\n\
                 StrictHostKeyChecking yes\nIdentityFile none\n"
            ),
        )
        .unwrap();
        let configuration = keys.join("sshd_config");
        let logins = Arc::new(AtomicUsize::new(0));
        let counter = logins.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = OwnedFd::from(stream.unwrap());
                let output = Command::new(SERVER)
                    .args(["-i", "-e", "-f"])
                    .arg(&configuration)
                    .stdin(Stdio::from(stream.try_clone().unwrap()))
                    .stdout(Stdio::from(stream))
                    .stderr(Stdio::piped())
                    .output()
                    .unwrap();
                if String::from_utf8_lossy(&output.stderr).contains("Accepted publickey") {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self {
            address,
            keys,
            logins,
            made_prison,
        }
    }

    /// For `ssh -F`.
    pub(crate) fn client_configuration(&self) -> PathBuf {
        self.keys.join("ssh_config")
    }

    pub(crate) fn keys(&self) -> &Path {
        &self.keys
    }

    pub(crate) fn url(&self, path: &Path) -> String {
        format!("ssh://root@{}{}", self.address, path.display())
    }

    /// How many connections have got in.
    pub(crate) fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if self.made_prison {
            let _ = std::fs::remove_dir(PRISON);
        }
    }
}

/// A user's agent with one key; ends with this.
pub(crate) struct Agent {
    process: Child,
    directory: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start(key: &Path) -> Self {
        use std::io::BufRead as _;
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let mut process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &socket));
        Self { process, directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
