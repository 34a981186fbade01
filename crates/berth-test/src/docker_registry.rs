//! Debian's `docker-registry`, the distribution project's own server: what registries in the field do.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::world::{cached_in, test_root};

/// A running registry with a directory of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DockerRegistry {
    /// The user that [`DockerRegistry::with_password`] knows.
    pub const USER: &str = "me";
    /// The user's password.
    pub const PASSWORD: &str = "s3cret";

    /// One that lets everybody do everything.
    pub fn start() -> Self {
        Self::with_auth(|_| String::new())
    }

    /// One that knows one user, by password.
    pub fn with_password() -> Self {
        Self::with_auth(|directory| {
            let file = directory.join("htpasswd");
            // bcrypt of the password.
            let line = "me:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";
            std::fs::write(&file, line).expect("write the password file");
            format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                file.display()
            )
        })
    }

    /// One with another section `auth` of its configuration; what it names can be written to the
    /// directory that is passed.
    pub fn with_auth(auth: impl FnOnce(&Path) -> String) -> Self {
        let program = program();
        let directory = tempfile::tempdir().expect("make a directory");
        let auth = auth(directory.path());
        let config = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  delete:\n    \
             enabled: true\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{auth}",
            storage.display()
        );
        std::fs::write(&config, text).expect("write the configuration");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start docker-registry");
        let stderr = child.stderr.take().expect("its log");
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = String::new();
        let host = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.kill();
                panic!("docker-registry ended:\n{seen}");
            };
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
                break address.into_iter().next().unwrap_or_default().to_owned();
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // Its log must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            host,
            _directory: directory,
        }
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// The program of the Debian package, unpacked and not installed: no service starts with it.
fn program() -> PathBuf {
    let unpacked = cached_in(&test_root(), "docker-registry", |directory| {
        let download = || {
            Command::new("apt-get")
                .args(["download", "docker-registry"])
                .current_dir(directory)
                .status()
                .is_ok_and(|status| status.success())
        };
        if !download() {
            let _ = Command::new("apt-get").arg("update").status();
            assert!(
                download(),
                "the Debian package docker-registry cannot be had"
            );
        }
        let package = std::fs::read_dir(directory)
            .expect("read the directory")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .expect("the package");
        let status = Command::new("dpkg")
            .arg("--extract")
            .arg(&package)
            .arg(directory)
            .status()
            .expect("run dpkg");
        assert!(status.success(), "the package cannot be unpacked");
        std::fs::remove_file(package).expect("remove the package");
    });
    unpacked.join("usr/bin/docker-registry")
}
