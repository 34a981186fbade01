//! Where workerd reads its configuration from.
//!
//! Secrets are in it. So it need not be on any disk: workerd opens a descriptor of this process, which it
//! may as the same user, again after every crash, and nobody else can.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// A configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub enum ConfigFile {
    /// A file on disk.
    Path(PathBuf),
    /// In memory, for as long as somebody has it.
    Memory(Arc<OwnedFd>),
}

impl ConfigFile {
    /// Keeps the text in memory that nobody can change any more.
    ///
    /// # Errors
    /// The kernel's: no memory, or no descriptors.
    pub fn in_memory(text: &str) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file: OwnedFd = memfd_create("workerd-config", flags)?;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        Ok(Self::Memory(Arc::new(file)))
    }

    /// Whether it has a socket of this name.
    pub(super) fn has_socket(&self, name: &str) -> bool {
        // Quotes in texts are escaped: this is the field itself.
        let text = fs_err::read_to_string(self.path()).unwrap_or_default();
        text.contains(&format!("(name = \"{name}\", address = "))
    }

    /// By which another process of the same user opens it.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Memory(file) => {
                let process = std::process::id();
                PathBuf::from(format!("/proc/{process}/fd/{}", file.as_raw_fd()))
            }
        }
    }
}

impl From<PathBuf> for ConfigFile {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}
