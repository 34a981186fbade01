//! A disk that can lose its power: an ext4 in a file, which writes what nobody has waited for as late as it can.
//!
//! What is in the file at a moment is what a machine would find after a power cut at that moment. The real
//! disk of a machine has more of it: its kernel writes every few seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// Room on it; what is not used takes none.
const BYTES: u64 = 4 << 30;
/// Seconds between two commits of its journal that nobody has asked for: longer than a test.
const COMMIT: &str = "commit=300";

/// A mounted file system of its own. Unmounted and removed when it is dropped.
#[derive(Debug)]
pub struct Disk {
    directory: tempfile::TempDir,
    /// Which file has it now.
    image: PathBuf,
}

/// What a [`Disk`] had at a moment.
#[derive(Debug)]
pub struct Remains(PathBuf);

impl Disk {
    /// A new one, empty.
    ///
    /// # Panics
    ///
    /// If the machine has no loop devices or no `mkfs.ext4`.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let image = directory.path().join("0");
        let file = std::fs::File::create(&image).expect("make the disk's file");
        file.set_len(BYTES).expect("size the disk's file");
        let mut mkfs = Command::new("mkfs.ext4");
        // All of it is made now: the kernel would do it later, in between.
        run(mkfs
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image));
        std::fs::create_dir(directory.path().join("mount")).expect("make the mount point");
        let disk = Self { directory, image };
        disk.mount();
        disk
    }

    /// Its root directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn mount(&self) {
        let mut mount = Command::new("mount");
        run(mount
            .args(["-t", "ext4", "-o", &format!("loop,{COMMIT}")])
            .arg(&self.image)
            .arg(self.path()));
    }

    /// What it would have if the power went now. The processes that write to it may go on: nothing of what they
    /// do from now on is in it.
    ///
    /// # Panics
    ///
    /// If the file cannot be copied.
    pub fn remains(&self) -> Remains {
        let number: u32 = self
            .image
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())
            .expect("files are numbered");
        let copy = self.directory.path().join((number + 1).to_string());
        // Once more if the kernel has written meanwhile: what is copied is of one moment.
        loop {
            let before = self.written();
            run(Command::new("cp")
                .args(["--sparse=always", "--reflink=auto"])
                .arg(&self.image)
                .arg(&copy));
            if self.written() == before {
                return Remains(copy);
            }
        }
    }

    /// Goes on as after a power cut. Nobody may have anything of it open any more.
    ///
    /// # Panics
    ///
    /// If somebody has.
    pub fn go_on_with(&mut self, remains: Remains) {
        // What processes had that were killed ends a moment after them: mounts, loop devices on it.
        let deadline = Instant::now() + PATIENCE;
        while !unmount(&self.path()) {
            assert!(Instant::now() < deadline, "the disk is still used");
            std::thread::sleep(Duration::from_millis(20));
        }
        let former = std::mem::replace(&mut self.image, remains.0);
        std::fs::remove_file(former).expect("remove the former disk's file");
        self.mount();
    }

    /// How much the kernel has written to its file.
    fn written(&self) -> String {
        let devices = std::fs::read_dir("/sys/block").expect("list block devices");
        let of_it = |device: &PathBuf| {
            let backing = std::fs::read_to_string(device.join("loop/backing_file"));
            backing.is_ok_and(|file| Path::new(file.trim_end()) == self.image)
        };
        let device = devices
            .flatten()
            .map(|device| device.path())
            .find(of_it)
            .expect("it has a loop device");
        let numbers = std::fs::read_to_string(device.join("stat")).expect("read what was written");
        // Sectors, and requests on the way.
        let mut numbers = numbers.split_whitespace();
        format!("{:?} {:?}", numbers.nth(6), numbers.nth(1))
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !unmount(&self.path()) {
            // A test that failed has left somebody on it; it goes with the last of them.
            let _ = Command::new("umount")
                .arg("--lazy")
                .arg(self.path())
                .status();
            assert!(std::thread::panicking(), "the disk is still used");
        }
    }
}

/// Makes the store of images in a data directory believe that the machine has been started again since.
///
/// # Panics
///
/// If its notes cannot be read or written.
pub fn reboot_store(data: &Path) {
    let Ok(layers) = std::fs::read_dir(data.join("layers")) else {
        return;
    };
    for layer in layers.flatten() {
        let note = layer.path().join("unflushed");
        // One that has lost its text stays so.
        if std::fs::read(&note).is_ok_and(|boot| !boot.is_empty()) {
            std::fs::write(note, "another boot\n").expect("change a layer's note");
        }
    }
}

/// `false`: somebody uses it.
fn unmount(path: &Path) -> bool {
    let output = Command::new("umount").arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("run a command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
