//! A systemd that runs Berth's unit, as the first process of its own namespaces.
//!
//! The network is this machine's: tests ask what runs in it at addresses of 127.0.0.1. Files below `/tmp` and
//! the test's directory are the same inside and outside.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::{PATIENCE, World};

/// The programs it needs, and the Debian packages that have them.
const NEEDED: [(&str, &str); 4] = [
    ("/lib/systemd/systemd", "systemd"),
    ("/usr/bin/findmnt", "util-linux"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/unshare", "util-linux"),
];

/// A booted systemd with `berth.service` installed, not started. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Systemd {
    outside: Child,
    /// Process 1 of its process namespace, as this machine counts.
    first: u32,
    name: String,
    directory: tempfile::TempDir,
}

impl Systemd {
    /// Boots with this unit, and this `berth.toml`. Blocks until systemd says that it has started.
    pub fn boot(world: &World, unit: &str, config: &str) -> Self {
        install();
        let directory = tempfile::tempdir_in(world.root()).expect("make a directory");
        let path = directory.path();
        for part in ["etc", "data", "root"] {
            std::fs::create_dir(path.join(part)).expect("make a directory");
        }
        std::os::unix::fs::symlink(world.cache_dir(), path.join("cache")).expect("name the cache");
        std::os::unix::fs::symlink(world.binary(), path.join("berth")).expect("name the program");
        let write = |name: &str, text: &str| std::fs::write(path.join(name), text).expect("write");
        write("berth.service", unit);
        write("etc/berth.toml", config);
        write("systemd.sh", include_str!("systemd.sh"));
        let started = UnixDatagram::bind(path.join("notify")).expect("make a socket");
        started.set_read_timeout(Some(PATIENCE)).expect("a time");
        let unique = path.file_name().expect("it has a name");
        let unique: String = unique.to_string_lossy().replace('.', "");
        let name = format!("berth-systemd-{unique}");
        let outside = Command::new("bash")
            .arg(path.join("systemd.sh"))
            .args([path.as_os_str(), name.as_ref()])
            .stdin(Stdio::null())
            .spawn()
            .expect("run bash");
        let mut this = Self {
            outside,
            first: 0,
            name,
            directory,
        };
        let mut said = [0; 4096];
        loop {
            let length = started.recv(&mut said).expect("systemd starts");
            let said = String::from_utf8_lossy(&said[..length]);
            if said.lines().any(|line| line == "READY=1") {
                break;
            }
        }
        let id = this.outside.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let first = children.expect("it runs").trim().parse();
        this.first = first.expect("one child: the first process in there");
        this
    }

    /// Berth's data directory, outside.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs this inside to its end.
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Output {
        let first = self.first.to_string();
        Command::new("nsenter")
            .args(["-t", &first, "-m", "-p", "-u", "-i", "-C", "-r", "-w", "--"])
            .args(arguments)
            .env("BERTH_CACHE_DIR", "/var/cache/berth")
            .env("NO_COLOR", "1")
            .env_remove("BERTH_DATA_DIR")
            .stdin(Stdio::null())
            .output()
            .expect("run nsenter")
    }

    /// The same for what must succeed; what it says.
    #[track_caller]
    pub fn ok<const N: usize>(&self, arguments: [&str; N]) -> String {
        let output = self.run(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{stdout}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.journal(),
        );
        stdout.into_owned()
    }

    /// Where the journal ends now.
    pub fn cursor(&self) -> String {
        let said = self.ok(["journalctl", "--no-pager", "-n", "0", "--show-cursor"]);
        let (_, cursor) = said.rsplit_once("cursor: ").expect("it has an entry");
        cursor.trim().to_owned()
    }

    /// Blocks until the journal has a line of the service with this in it, after a [`Systemd::cursor`].
    pub fn await_line(&self, since: &str, needle: &str) {
        let follow = "timeout \"$0\" journalctl -f -o cat -u berth --after-cursor=\"$1\" | grep -m 1 -F -e \"$2\"";
        let patience = PATIENCE.as_secs().to_string();
        self.ok(["bash", "-c", follow, &patience, since, needle]);
    }

    /// The control groups with this name, other than the unit's.
    pub fn groups(&self, name: &str) -> Vec<String> {
        let found = self.ok(["find", "/sys/fs/cgroup", "-type", "d", "-name", name]);
        found.lines().map(str::to_owned).collect()
    }

    /// What the service has logged.
    pub fn journal(&self) -> String {
        let output = self.run(["journalctl", "--no-pager", "-o", "cat", "-u", "berth"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Its child dies with it, and with that all others.
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("read the mounts");
        for mount in mounts.lines() {
            let mut fields = mount.split(' ').skip(1);
            let (Some(at), Some(kind)) = (fields.next(), fields.next()) else {
                continue;
            };
            if kind.starts_with("cgroup") {
                remove(&Path::new(at).join(&self.name));
            }
        }
    }
}

/// Removes a control group with those in it, as soon as what was killed has left them.
fn remove(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let until = std::time::Instant::now() + PATIENCE;
    while let Err(error) = std::fs::remove_dir(group) {
        if error.kind() != std::io::ErrorKind::ResourceBusy || std::time::Instant::now() > until {
            eprintln!("remove {}: {error}", group.display());
            return;
        }
        // The kernel tells nobody that a killed process has left its group.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn install() {
    let missing = NEEDED
        .iter()
        .filter(|(program, _)| !Path::new(program).exists());
    let packages: std::collections::BTreeSet<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return;
    }
    let status = Command::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    let status = status.expect("run apt-get");
    assert!(status.success(), "{packages:?} cannot be installed");
}
