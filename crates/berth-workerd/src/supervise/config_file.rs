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
        let text = fs_err::read_to_string(self.path()).unwrap_or_default();
        has_socket(&text, name)
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

/// Quotes in texts are escaped, so that these are the fields themselves; wide ones are on lines of their own.
fn has_socket(config: &str, name: &str) -> bool {
    let field = format!("name = \"{name}\",");
    let mut after = config.split(&field).skip(1);
    after.any(|rest| rest.trim_start().starts_with("address = "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_no_binding() {
        assert!(has_socket(
            "((name = \"traces\", address = \"unix:a\"))",
            "traces"
        ));
        assert!(has_socket(
            "(\n  name = \"traces\",\n  address = \"unix:a\"\n)",
            "traces"
        ));
        assert!(!has_socket(
            "(name = \"traces\", text = \"address = \")",
            "traces"
        ));
        assert!(!has_socket(
            "(text = \"name = \\\"traces\\\", address = \")",
            "traces"
        ));
    }
}
