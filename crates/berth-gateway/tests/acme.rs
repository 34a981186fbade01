//! A certificate from a real authority: Let's Encrypt's test server, from Debian's package `pebble`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use berth_config::{AcmeConfig, CertificateFiles};
use berth_gateway::{Acme, AcmeError, Certificates, Challenges, Gateway, GatewayOptions, Sites};
use tokio::sync::mpsc;

/// Ended when it is dropped.
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
        let mut program = Self(child.unwrap());
        let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
        let said = lines.any(|line| line.unwrap().contains(ready));
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
            status.unwrap().success(),
            "the Debian package `pebble` cannot be installed"
        );
    }
    path.to_owned()
}

/// A port that nobody has at the moment: pebble does not say which one it took.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The authority and the names it knows.
struct Authority {
    _programs: [Program; 2],
    config: AcmeConfig,
}

fn authority(directory: &Path, http_port: u16) -> Authority {
    let pebble = pebble();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (ca, key) = (directory.join("ca.pem"), directory.join("ca.key"));
    std::fs::write(&ca, own.cert.pem()).unwrap();
    std::fs::write(&key, own.key_pair.serialize_pem()).unwrap();
    let (port, dns) = (free_port(), free_port());
    let config = serde_json::json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{}", free_port()),
        "certificate": ca, "privateKey": key,
        "httpPort": http_port, "tlsPort": free_port(),
        "ocspResponderURL": "", "externalAccountBindingRequired": false,
    }});
    let path = directory.join("pebble.json");
    std::fs::write(&path, config.to_string()).unwrap();
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
    Authority {
        _programs: [server, names],
        config: AcmeConfig {
            directory: format!("https://localhost:{port}/dir"),
            email: Some("operator@example.com".to_owned()),
            domains: vec!["app.example.com".to_owned()],
            ca: Some(ca),
            terms_accepted: true,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_and_used() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, challenges): (Arc<Certificates>, Arc<Challenges>) = Default::default();
    let sites: Arc<Sites> = Arc::default();
    let mut options = GatewayOptions::at("127.0.0.1:0".parse().unwrap());
    options.challenges = Arc::clone(&challenges);
    options.certificates = Arc::clone(&certificates);
    // What is asked of the gateway before it is led to TLS.
    options.https = vec!["127.0.0.1:0".parse().unwrap()];
    options.redirect = true;
    let (events, _events) = mpsc::unbounded_channel();
    let gateway = Gateway::bind(options, Arc::clone(&sites), events)
        .await
        .unwrap();
    let authority = authority(directory.path(), gateway.local_addr().port());
    let kept = directory.path().join("acme");
    let acme = |config: &AcmeConfig| {
        Acme::new(
            config.clone(),
            kept.clone(),
            Arc::clone(&sites),
            Arc::clone(&certificates),
            Arc::clone(&challenges),
        )
        .unwrap()
    };
    acme(&authority.config)
        .obtain("app.example.com")
        .await
        .unwrap();
    let files = CertificateFiles {
        certificate: kept.join("app.example.com/certificate.pem"),
        key: kept.join("app.example.com/key.pem"),
    };
    let text = std::fs::read_to_string(&files.certificate).unwrap();
    assert!(
        text.matches("BEGIN CERTIFICATE").count() > 1,
        "with its chain: {text}"
    );
    let again = Certificates::default();
    again.load(std::slice::from_ref(&files)).unwrap();
    assert!(again.has_file_for("app.example.com") && !again.has_file_for("other.example.com"));
    // The second one belongs to the same account.
    let account = std::fs::read(kept.join("account.json")).unwrap();
    acme(&authority.config)
        .obtain("other.example.com")
        .await
        .unwrap();
    assert_eq!(std::fs::read(kept.join("account.json")).unwrap(), account);

    // Nobody answers for the name: said, and what was there is still used.
    drop(gateway);
    let before = std::fs::read(&files.certificate).unwrap();
    let error = acme(&authority.config)
        .obtain("app2.example.com")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            AcmeError::Refused { .. } | AcmeError::Authority { .. }
        ),
        "{error}"
    );
    assert_eq!(std::fs::read(&files.certificate).unwrap(), before);
}
