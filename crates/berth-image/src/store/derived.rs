//! Layers that were made here: their tree is in the store, their tar is not, as it can be made of the
//! tree at any time. A blob is made of one, compressed, when the image goes somewhere else.
//!
//! Invariants: a derived layer's digest is its diff id, so nobody takes it for another blob; what is
//! made of its tree is checked against it; a tree that may not be on the disk as a whole (see
//! [`ImageStore::flush`]) is only believed as long as the machine has not been restarted.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{ImageStore, ZSTD_LEVEL};
use crate::json;
use crate::stream::{Compression, HashWriter};
use crate::tree::Walk;
use crate::{Digest, Image, ImageError, Layer};

/// In a layer's directory: the layer as a compressed blob.
const PACKED: &str = "packed.json";
/// In a layer's directory: the boot during which it was put there, while it may not all be on disk.
const UNFLUSHED: &str = "unflushed";

impl ImageStore {
    /// The image as others want it: every layer is a compressed blob in the store. It has the same
    /// id; its manifest, which names the blobs, takes the place of the former one.
    ///
    /// # Errors
    /// A tree is not what its layer says, or something cannot be read or written.
    pub fn packed(&self, image: &Image) -> Result<Image, ImageError> {
        if image
            .layers
            .iter()
            .all(|layer| self.has_blob(&layer.digest))
        {
            return Ok(image.clone());
        }
        let layers = std::thread::scope(|scope| {
            let pack = |layer| scope.spawn(move || self.pack_layer(layer));
            let threads: Vec<_> = image.layers.iter().map(pack).collect();
            let joined = threads.into_iter().map(|thread| {
                let panicked = |_| ImageError::BadImage("packing a layer panicked".to_owned());
                thread.join().map_err(panicked).and_then(|layer| layer)
            });
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        let config = self.read_blob("image configuration", &image.id)?;
        let packed = self.put_config(&config, layers)?;
        self.change_index(|index| {
            if let Some(record) = index.images.get_mut(&packed.id) {
                record.manifest = packed.manifest.clone();
            }
            Ok(())
        })?;
        Ok(packed)
    }

    /// A layer as a compressed blob.
    fn pack_layer(&self, layer: &Layer) -> Result<Layer, ImageError> {
        if self.has_blob(&layer.digest) {
            return Ok(layer.clone());
        }
        let _lock = self.lock_layer(&layer.diff_id)?;
        let note = self.layer_dir(&layer.diff_id).join(PACKED);
        if let Ok(bytes) = fs::read(&note) {
            let packed: Layer = json::parse(&bytes, format!("`{}`", note.display()))?;
            let packed = self.hold_layer(packed)?;
            if self.has_blob(&packed.digest) {
                return Ok(packed);
            }
        }
        let blob = self.new_blob()?;
        let (digest, size) = self.compress(layer, blob.as_file(), blob.path())?;
        let media_type = Compression::Zstd.media_type().to_owned();
        let packed = Layer::new(layer.diff_id.clone(), digest, size, media_type);
        let packed = self.hold_layer(packed)?;
        let flushed = blob.as_file().sync_data();
        flushed.map_err(ImageError::io("write", blob.path()))?;
        self.keep_blob(blob, &packed.digest)?;
        let bytes = json::canonical(json::value(&packed, "the packed layer's record")?);
        fs::write(&note, bytes).map_err(ImageError::io("write", &note))?;
        Ok(packed)
    }

    /// Writes a layer's tar, compressed; digest and number of the bytes.
    fn compress(
        &self,
        layer: &Layer,
        file: &std::fs::File,
        path: &Path,
    ) -> Result<(Digest, u64), ImageError> {
        let io = |error| ImageError::io("write", path)(error);
        let file = HashWriter::new(BufWriter::with_capacity(1 << 18, file));
        let encoder = zstd::Encoder::new(file, ZSTD_LEVEL).map_err(io)?;
        let tar = Walk::tar(&self.layer_path(layer), encoder)?;
        if tar.diff_id != layer.diff_id {
            return Err(ImageError::DigestMismatch {
                what: format!("the tree of layer {}", layer.diff_id),
                expected: layer.diff_id.clone(),
                actual: tar.diff_id,
            });
        }
        let (digest, size, mut file) = tar.writer.finish().map_err(io)?.finish();
        file.flush().map_err(io)?;
        Ok((digest, size))
    }

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
