//! A certificate authority for tests: Let's Encrypt's own test server, from Debian's package `pebble`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How often the authority is started.
const TRIES: u32 = 5;

/// Ended when it is dropped.
#[derive(Debug)]
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts it and waits until it says so.
    fn start(command: &mut Command, ready: &str) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let mut program = Self(child.expect("the authority is set up"));
        let mut lines =
            BufReader::new(program.0.stdout.take().expect("the authority is set up")).lines();
        let said = lines.any(|line| line.expect("the authority is set up").contains(ready));
        assert!(said, "{command:?} did not say `{ready}`");
        // What it prints later must go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        program
    }

    /// Waits until it answers at these ports of TCP, of which it says nothing; whether it does not end instead.
    fn answers_at(&mut self, ports: &[u16]) -> bool {
        let open = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
        while !ports.iter().all(open) {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Somebody else may have answered.
        matches!(self.0.try_wait(), Ok(None))
    }
}

fn pebble() -> PathBuf {
    let path = Path::new("/usr/bin/pebble");
    if !path.exists() {
        let status = Command::new("apt-get")
            .args(["install", "-y", "-q", "pebble"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        assert!(
            status.expect("the authority is set up").success(),
            "the Debian package `pebble` cannot be installed"
        );
    }
    path.to_owned()
}

/// A port that nobody has at the moment: pebble does not say which one it took.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the authority is set up");
    listener
        .local_addr()
        .expect("the authority is set up")
        .port()
}

/// The authority, to which every name leads to this machine. Ends with the value.
#[derive(Debug)]
pub struct Authority {
    _programs: [Program; 2],
    /// Its `directory` URL.
    pub directory: String,
    /// The root that its own address is checked with.
    pub ca: PathBuf,
}

impl Authority {
    /// One that asks for proofs over HTTP at this port, with its files in a directory.
    pub fn start(directory: &Path, http_port: u16) -> Self {
        Self::start_at(directory, http_port, free_port())
    }

    /// The same, which asks over TLS at this port.
    pub fn start_at(directory: &Path, http_port: u16, tls_port: u16) -> Self {
        let pebble = pebble();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("the authority is set up");
        let (ca, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        std::fs::write(&ca, own.cert.pem()).expect("the authority is set up");
        std::fs::write(&key, own.key_pair.serialize_pem()).expect("the authority is set up");
        // A port that was free may be somebody's by the time it is taken.
        for _ in 0..TRIES {
            let (port, management, dns) = (free_port(), free_port(), free_port());
            let config = serde_json::json!({"pebble": {
                "listenAddress": format!("127.0.0.1:{port}"),
                "managementListenAddress": format!("127.0.0.1:{management}"),
                "certificate": ca, "privateKey": key,
                "httpPort": http_port, "tlsPort": tls_port,
                "ocspResponderURL": "", "externalAccountBindingRequired": false,
            }});
            let path = directory.join("pebble.json");
            std::fs::write(&path, config.to_string()).expect("the authority is set up");
            let mut names = Program::start(
                Command::new("pebble-challtestsrv")
                    .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                    .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                    .arg(format!("-dns01=127.0.0.1:{dns}"))
                    .arg(format!("-management=127.0.0.1:{}", free_port())),
                "Starting",
            );
            let mut server = Program::start(
                Command::new(&pebble)
                    .arg("-config")
                    .arg(&path)
                    .arg(format!("-dnsserver=127.0.0.1:{dns}"))
                    .env("PEBBLE_VA_NOSLEEP", "1"),
                "Listening on",
            );
            if names.answers_at(&[dns]) && server.answers_at(&[port, management]) {
                return Self {
                    _programs: [server, names],
                    directory: format!("https://localhost:{port}/dir"),
                    ca,
                };
            }
        }
        panic!("pebble does not stay in {TRIES} tries");
    }
}
