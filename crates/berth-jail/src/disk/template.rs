//! An empty file system of one size, kept as the few blocks that are not zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Where distributions have it; `/sbin` is not in everybody's `PATH`.
const PROGRAMS: [&str; 3] = ["mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"];

/// No journal and nothing that only pays off on real disks. `uninit_bg` lets unused inode tables stay
/// holes.
const FEATURES: &str = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,\
                        huge_file,uninit_bg,dir_nlink,extra_isize";

/// One inode for this many bytes, ext4's default.
const BYTES_PER_INODE: &str = "16384";

/// An empty file system of one size, ready to be copied.
#[derive(Debug)]
pub struct DiskTemplate {
    bytes: u64,
    /// Position and content of what is not zero.
    extents: Vec<(u64, Vec<u8>)>,
}

impl DiskTemplate {
    /// Makes one with `mkfs.ext4`, in a file in `scratch` that is gone again on return. Blocks for
    /// some tens of milliseconds.
    ///
    /// # Errors
    /// `NotFound` if there is no `mkfs.ext4`; otherwise what it or the kernel says.
    pub fn make(bytes: u64, scratch: &Path) -> io::Result<Self> {
        let path = scratch.join(format!("template-{bytes}"));
        let made = Self::make_at(bytes, &path);
        // It may not even exist.
        let _ = std::fs::remove_file(&path);
        made
    }

    fn make_at(bytes: u64, path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.set_len(bytes)?;
        format(path)?;
        let mut extents = Vec::new();
        let mut position = 0;
        while let Some(start) = seek(&file, SeekFrom::Data(position))? {
            let end = seek(&file, SeekFrom::Hole(start))?.unwrap_or(bytes);
            let length = usize::try_from(end - start).map_err(io::Error::other)?;
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, start)?;
            extents.push((start, content));
            position = end;
        }
        Ok(Self { bytes, extents })
    }

    /// What no kernel mounts.
    #[cfg(test)]
    pub(super) fn of_zeros(bytes: u64) -> Self {
        let extents = Vec::new();
        Self { bytes, extents }
    }

    /// Bytes of the file system, its own tables included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a copy to a new file.
    pub(super) fn write(&self, path: &Path) -> io::Result<File> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_len(self.bytes)?;
        for (position, content) in &self.extents {
            file.write_all_at(content, *position)?;
        }
        Ok(file)
    }
}

/// `None`: there is nothing from there on.
fn seek(file: &File, position: SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, position) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn format(path: &Path) -> io::Result<()> {
    for program in PROGRAMS {
        let ran = Command::new(program)
            .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0"])
            .args(["-i", BYTES_PER_INODE, "-O", FEATURES])
            .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
            .arg(path)
            .stdin(Stdio::null())
            .output();
        return match ran {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error),
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!(
                    "mkfs.ext4: {}",
                    text.trim().lines().last().unwrap_or("it failed")
                )))
            }
        };
    }
    let text = "there is no mkfs.ext4 (package e2fsprogs)";
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}
