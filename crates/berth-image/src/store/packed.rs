//! Images as others want them: every layer is a compressed blob.
//!
//! Nobody else's manifest names the blobs of layers that were made here (built, or imported without
//! being compressed), so whoever sends them says how they are compressed. Layers that came as
//! compressed blobs stay as they came, so that the image keeps its digest.
//!
//! Invariants: a blob is made once for each way of compressing and found again until it is collected;
//! made again it has the same digest; what is made is checked against the diff id. The image keeps its
//! id and every name; its former manifest still leads to it.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::str::FromStr;

use fs_err as fs;

use super::{ImageStore, LAYER};
use crate::json;
use crate::stream::{Compression, Encoder, HashWriter, decompress, sniff};
use crate::tree::Walk;
use crate::{Digest, Image, ImageError, Layer};

/// How layers that were made here are compressed when their image goes somewhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerCompression {
    /// Everybody can read it.
    #[default]
    Gzip,
    /// Smaller and faster; Docker reads it since version 23.
    Zstd,
}

const ALL: [LayerCompression; 2] = [LayerCompression::Gzip, LayerCompression::Zstd];

impl LayerCompression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn kind(self) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        }
    }

    /// In a layer's directory: the layer as a blob that is compressed like this.
    fn note(self) -> String {
        format!("packed-{}.json", self.name())
    }
}

impl fmt::Display for LayerCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LayerCompression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = ALL.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| "layers are compressed with `gzip` or `zstd`".to_owned())
    }
}

impl ImageStore {
    /// The image as others want it: every layer is a compressed blob in the store, those that were
    /// made here in the way that is asked for. It has the same id; its manifest, which names the
    /// blobs, takes the place of the former one.
    ///
    /// # Errors
    /// A tree or blob is not what its layer says, or something cannot be read or written.
    pub fn packed(
        &self,
        image: &Image,
        compression: LayerCompression,
    ) -> Result<Image, ImageError> {
        let layers = std::thread::scope(|scope| {
            let pack = |layer| scope.spawn(move || self.pack_layer(layer, compression));
            let threads: Vec<_> = image.layers.iter().map(pack).collect();
            let joined = threads.into_iter().map(|thread| {
                let panicked = |_| ImageError::BadImage("packing a layer panicked".to_owned());
                thread.join().map_err(panicked).and_then(|layer| layer)
            });
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        if layers
            .iter()
            .map(|layer| &layer.digest)
            .eq(image.layers.iter().map(|layer| &layer.digest))
        {
            return Ok(image.clone());
        }
        let config = self.read_blob("image configuration", &image.id)?;
        let packed = self.put_config(&config, layers)?;
        self.change_index(|index| {
            if let Some(record) = index.images.get_mut(&packed.id) {
                record.change_manifest(&packed.manifest);
            }
            Ok(())
        })?;
        Ok(packed)
    }

    /// A layer as a compressed blob.
    fn pack_layer(
        &self,
        layer: &Layer,
        compression: LayerCompression,
    ) -> Result<Layer, ImageError> {
        if self.has_blob(&layer.digest) && !self.is_packed_here(layer)? {
            return Ok(layer.clone());
        }
        let _lock = self.lock_layer(&layer.diff_id)?;
        if let Some(known) = self.packed_form(&layer.diff_id, compression)? {
            return Ok(known);
        }
        let blob = self.new_blob()?;
        let (digest, size) = self.compress(layer, compression, blob.as_file(), blob.path())?;
        let media_type = compression.kind().media_type().to_owned();
        let packed = Layer::new(layer.diff_id.clone(), digest, size, media_type);
        let packed = self.hold_layer(packed)?;
        let flushed = blob.as_file().sync_data();
        flushed.map_err(ImageError::io("write", blob.path()))?;
        self.keep_blob(blob, &packed.digest)?;
        self.note_packed(&packed, compression)?;
        Ok(packed)
    }

    /// Whether a layer's blob was made here, and so may be another one as well.
    fn is_packed_here(&self, layer: &Layer) -> Result<bool, ImageError> {
        for compression in ALL {
            let noted = self.noted(&layer.diff_id, compression)?;
            if noted.is_some_and(|noted| noted.digest == layer.digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A blob that was made of a layer in this way, if it is still there.
    fn packed_form(
        &self,
        diff_id: &Digest,
        compression: LayerCompression,
    ) -> Result<Option<Layer>, ImageError> {
        let Some(noted) = self.noted(diff_id, compression)? else {
            return Ok(None);
        };
        let layer = self.hold_layer(noted)?;
        Ok(self.has_blob(&layer.digest).then_some(layer))
    }

    /// Any blob that was made of a layer, if one is still there.
    pub(super) fn any_packed_form(&self, diff_id: &Digest) -> Result<Option<Layer>, ImageError> {
        for compression in ALL {
            if let Some(layer) = self.packed_form(diff_id, compression)? {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    fn noted(
        &self,
        diff_id: &Digest,
        compression: LayerCompression,
    ) -> Result<Option<Layer>, ImageError> {
        let note = self.layer_dir(diff_id).join(compression.note());
        match fs::read(&note) {
            // One that is not whole was not written out in time: the blob is made again.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io("read", &note)(error)),
        }
    }

    /// Notes that a layer's blob was made here. The caller holds the layer's lock.
    pub(super) fn note_packed(
        &self,
        layer: &Layer,
        compression: LayerCompression,
    ) -> Result<(), ImageError> {
        let note = self.layer_dir(&layer.diff_id).join(compression.note());
        let bytes = json::canonical(json::value(layer, "the packed layer's record")?);
        fs::write(&note, bytes).map_err(ImageError::io("write", &note))
    }

    /// Writes a layer's tar, compressed; digest and number of the bytes. The tar is made of the tree,
    /// or if that gives another one (the layer was imported) taken from a blob that was made before.
    fn compress(
        &self,
        layer: &Layer,
        compression: LayerCompression,
        file: &std::fs::File,
        path: &Path,
    ) -> Result<(Digest, u64), ImageError> {
        let io = |error| ImageError::io("write", path)(error);
        let file = HashWriter::new(BufWriter::with_capacity(1 << 18, file));
        let encoder = Encoder::new(compression.kind(), file).map_err(io)?;
        let (diff_id, encoder) = match self.any_packed_form(&layer.diff_id)? {
            Some(other) => self.copy_tar(&other, encoder)?,
            None => {
                let tar = Walk::tar(&self.layer_path(layer), encoder)?;
                (tar.diff_id, tar.writer)
            }
        };
        if diff_id != layer.diff_id {
            return Err(ImageError::DigestMismatch {
                what: format!("the tree of layer {}", layer.diff_id),
                expected: layer.diff_id.clone(),
                actual: diff_id,
            });
        }
        let (digest, size, mut file) = encoder.finish().map_err(io)?.finish();
        file.flush().map_err(io)?;
        Ok((digest, size))
    }

    /// Copies the tar that is in a blob; its digest.
    fn copy_tar<W: io::Write>(&self, layer: &Layer, writer: W) -> Result<(Digest, W), ImageError> {
        let path = self.blob_path(&layer.digest);
        let mut blob = BufReader::with_capacity(1 << 18, self.open_blob(LAYER, &layer.digest)?);
        let copy = || -> io::Result<(Digest, W)> {
            let compression = sniff(&mut blob)?;
            let mut tar = decompress(compression, blob)?;
            let mut writer = HashWriter::new(writer);
            io::copy(&mut tar.by_ref(), &mut writer)?;
            let (diff_id, _, writer) = writer.finish();
            Ok((diff_id, writer))
        };
        copy().map_err(ImageError::io("recompress", &path))
    }
}
