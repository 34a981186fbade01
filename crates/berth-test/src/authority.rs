//! A certificate authority for tests: Let's Encrypt's own test server, from Debian's package `pebble`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
    /// One that asks for proofs at this port, with its files in a directory.
    pub fn start(directory: &Path, http_port: u16) -> Self {
        let pebble = pebble();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("the authority is set up");
        let (ca, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        std::fs::write(&ca, own.cert.pem()).expect("the authority is set up");
        std::fs::write(&key, own.key_pair.serialize_pem()).expect("the authority is set up");
        let (port, dns) = (free_port(), free_port());
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": ca, "privateKey": key,
            "httpPort": http_port, "tlsPort": free_port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let path = directory.join("pebble.json");
        std::fs::write(&path, config.to_string()).expect("the authority is set up");
        let names = Program::start(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .arg(format!("-dns01=127.0.0.1:{dns}"))
                .arg(format!("-management=127.0.0.1:{}", free_port())),
            "Starting",
        );
        let server = Program::start(
            Command::new(pebble)
                .arg("-config")
                .arg(&path)
                .arg(format!("-dnsserver=127.0.0.1:{dns}"))
                .env("PEBBLE_VA_NOSLEEP", "1"),
            "Listening on",
        );
        Self {
            _programs: [server, names],
            directory: format!("https://localhost:{port}/dir"),
            ca,
        }
    }
}
