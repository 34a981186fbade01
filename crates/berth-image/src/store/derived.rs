//! Layers that were made here: their tree is in the store, their tar is not, as it can be made of the
//! tree at any time. A blob is made of one, compressed, when the image goes somewhere else
//! ([`packed`](super::packed)).
//!
//! Invariants: a derived layer's digest is its diff id, so nobody takes it for another blob; what is
//! made of its tree is checked against it; a tree that may not be on the disk as a whole (see
//! [`ImageStore::flush`]) is only believed as long as the machine has not been restarted.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::ImageStore;
use crate::{Digest, ImageError, Layer};

/// In a layer's directory: the boot during which it was put there, while it may not all be on disk.
const UNFLUSHED: &str = "unflushed";

impl ImageStore {
    /// Whether a layer without a blob was made here.
    pub(super) fn is_derived(&self, layer: &Layer) -> bool {
        layer.digest == layer.diff_id
            && self
                .layer_record(&layer.diff_id)
                .is_ok_and(|record| record.is_some_and(|record| record.derived))
    }

    /// Notes in a finished directory that its content may not all be on disk.
    pub(crate) fn mark_unflushed(&self, finished: &Path) -> Result<(), ImageError> {
        let path = finished.join(UNFLUSHED);
        fs::write(&path, boot_id()).map_err(ImageError::io("write", &path))
    }

    /// Whether a tree may be believed: it is on disk, or in the memory of this boot.
    pub(super) fn is_whole(&self, diff_id: &Digest) -> bool {
        match fs::read(self.layer_dir(diff_id).join(UNFLUSHED)) {
            // An empty note is one that was not written out in time.
            Ok(boot) => !boot.is_empty() && boot == boot_id(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Puts on disk what was not waited for when it was made, so that a power cut costs nothing any
    /// more. Builds leave that to whoever has time: the kernel does it within half a minute anyway.
    pub fn settle(&self) -> Result<(), ImageError> {
        let layers = self.root().join("layers");
        let mut notes: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&layers).map_err(ImageError::io("read", &layers))? {
            let note = entry.map_err(ImageError::io("read", &layers))?.path();
            let note = note.join(UNFLUSHED);
            if fs::read(&note).is_ok_and(|boot| boot == boot_id()) {
                notes.push(note);
            }
        }
        if notes.is_empty() {
            return Ok(());
        }
        self.flush()?;
        for note in notes {
            match fs::remove_file(&note) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ImageError::io("remove", &note)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The kernel's name for this run of the machine.
fn boot_id() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
