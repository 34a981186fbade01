//! Layers coming in: one pass over the stream stores the blob, computes both digests and unpacks the
//! tree, on three threads ([`pipeline`]).
//!
//! A layer is taken in once at a time on a machine: whoever else wants it waits for its lock and then
//! finds it. Everything is held before it is put in place.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use fs_err as fs;

use super::layers::LayerRecord;
use super::partial::Partial;
use super::{ImageStore, Item, LAYER, LayerCompression};
use crate::crash::crash_point;
use crate::unpack::UnpackLimits;
use crate::{Digest, ImageError, Layer};

mod pipeline;
mod unpacking;

use pipeline::{Sink, Stored};
use unpacking::Finished;

/// What becomes of a tar that is not compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// The blob is the tar as it is, because a manifest names it by its digest.
    Keep,
    /// The blob is the tar, compressed.
    Compress,
}

/// How to take in a layer.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    /// What it is to a reader of an error message.
    pub(crate) what: String,
    /// The diff id that the configuration says.
    pub(crate) diff_id: Option<Digest>,
    /// The digest that the manifest says.
    pub(crate) digest: Option<Digest>,
    /// See [`Plain`].
    pub(crate) plain: Plain,
    /// See [`UnpackLimits`].
    pub(crate) limits: UnpackLimits,
}

/// A layer as a manifest and a configuration announce it.
#[derive(Clone, Debug)]
pub struct IncomingLayer {
    /// Digest of the blob, in the manifest.
    pub digest: Digest,
    /// Digest of the uncompressed tar, in the configuration.
    pub diff_id: Digest,
}

impl ImageStore {
    /// Takes in a layer from elsewhere, unless it is here already. Blocks until it is unpacked, also
    /// while another thread or process takes in the same layer, which is then found.
    ///
    /// `open` gives the blob from a byte on: from 0, or from where an earlier try got to, which may
    /// have been in another process. It is called again, from 0, if that beginning turns out to be
    /// damaged. When the stream fails, what has come is kept for the next try (for a day); a stream
    /// that ends too early must fail, not end.
    ///
    /// The layer is kept as long as what is returned (or a clone) lives: hold on to it until
    /// [`ImageStore::add_image`] has returned.
    ///
    /// # Errors
    /// [`ImageError::DigestMismatch`] if blob or tar are not what was announced, and nothing is kept
    /// of it; [`ImageError::Unpack`] if the stream fails or the archive is refused.
    pub fn ingest_layer<R: Read + Send>(
        &self,
        incoming: &IncomingLayer,
        mut open: impl FnMut(u64) -> io::Result<R>,
    ) -> Result<Layer, ImageError> {
        let layer = self.hold_layer(incoming.layer())?;
        let _lock = self.lock_layer(&layer.diff_id)?;
        if self.has_layer(&layer) {
            return self.describe(layer);
        }
        let how = incoming.how();
        if self.has_blob(&layer.digest) {
            let blob = self.open_blob(LAYER, &layer.digest)?;
            return self.unpack_held(layer, blob, &how, Sink::Nowhere);
        }
        loop {
            let partial = self.partial(&layer.digest)?;
            let begun = partial.bytes > 0;
            let interrupted = AtomicBool::new(false);
            let stream = |offset| {
                let stream = open(offset).inspect_err(|_| interrupted.store(true, Relaxed))?;
                Ok(Watched(stream, &interrupted))
            };
            let error = match self.receive(layer.clone(), &how, &partial, stream) {
                Ok(layer) => return Ok(layer),
                Err(error) => error,
            };
            let damaged = is_damage(&error) && !interrupted.load(Relaxed);
            if damaged {
                partial.discard();
            }
            // The beginning may be what is wrong: once more without it.
            if !(damaged && begun) {
                return Err(error);
            }
        }
    }

    /// Takes in a layer whose blob is complete, in a file on the store's file system that is moved
    /// into the store.
    ///
    /// # Errors
    /// As [`ImageStore::ingest_layer`]; the file is removed in any case.
    pub fn ingest_file(
        &self,
        incoming: &IncomingLayer,
        blob: tempfile::NamedTempFile,
    ) -> Result<Layer, ImageError> {
        let layer = self.hold_layer(incoming.layer())?;
        let _lock = self.lock_layer(&layer.diff_id)?;
        if self.has_layer(&layer) {
            return self.describe(layer);
        }
        let source = blob.reopen().map_err(ImageError::io("open", blob.path()))?;
        if self.has_blob(&layer.digest) {
            return self.unpack_held(layer, source, &incoming.how(), Sink::Nowhere);
        }
        let (layer, scratch) =
            self.unpack_to_scratch(layer, source, &incoming.how(), Sink::Nowhere)?;
        self.flush()?;
        self.keep_blob(blob, &layer.digest)?;
        self.put_in_place(scratch)?;
        Ok(layer)
    }

    fn receive<R: Read + Send>(
        &self,
        layer: Layer,
        how: &Ingest,
        partial: &Partial,
        open: impl FnOnce(u64) -> io::Result<R>,
    ) -> Result<Layer, ImageError> {
        let failed = |source| how.failed(crate::UnpackError::Archive(source));
        let begun = fs::File::open(&partial.path).map_err(ImageError::io("open", &partial.path))?;
        let rest = open(partial.bytes).map_err(failed)?;
        let source = begun.take(partial.bytes).chain(rest);
        let sink = Sink::File {
            file: partial.file.file(),
            skip: partial.bytes,
        };
        let (layer, scratch) = self.unpack_to_scratch(layer, source, how, sink)?;
        crash_point("ingest.unpacked");
        self.flush()?;
        let path = self.blob_path(&layer.digest);
        fs::rename(&partial.path, &path).map_err(ImageError::io("put in place", &path))?;
        crash_point("ingest.stored");
        self.put_in_place(scratch)?;
        crash_point("ingest.placed");
        Ok(layer)
    }

    /// Takes in a layer of which not everything need be known. If its diff id is known and it is
    /// unpacked already, only the blob is stored; if that is here too, `source` is not read at all.
    pub(crate) fn ingest(
        &self,
        source: impl Read + Send,
        how: &Ingest,
    ) -> Result<Layer, ImageError> {
        let _lock = match &how.diff_id {
            Some(diff_id) => Some(self.lock_layer(diff_id)?),
            None => None,
        };
        let _tree = match &how.diff_id {
            Some(diff_id) => Some(self.hold(vec![Item::Tree(diff_id.clone())])?),
            None => None,
        };
        if let Some(known) = self.known_layer(how)? {
            return Ok(known);
        }
        let blob = self.new_blob()?;
        let sink = Sink::File {
            file: blob.as_file(),
            skip: 0,
        };
        let unpacking = self.start_unpacking(how, how.diff_id.as_ref())?;
        let (stored, unpacked) = unpacking.run(source, how, sink)?;
        let compressed_here = stored.compressed_here;
        let layer = self.hold_layer(stored.into_layer())?;
        self.flush()?;
        self.keep_blob(blob, &layer.digest)?;
        let _late_lock = match &how.diff_id {
            Some(_) => None,
            None => Some(self.lock_layer(&layer.diff_id)?),
        };
        self.put_in_place(unpacking.finished(&layer, unpacked))?;
        if compressed_here {
            self.note_packed(&layer, LayerCompression::Zstd)?;
        }
        Ok(layer)
    }

    fn unpack_held(
        &self,
        layer: Layer,
        source: impl Read + Send,
        how: &Ingest,
        sink: Sink<'_>,
    ) -> Result<Layer, ImageError> {
        let (layer, scratch) = self.unpack_to_scratch(layer, source, how, sink)?;
        self.flush()?;
        self.put_in_place(scratch)?;
        Ok(layer)
    }

    fn unpack_to_scratch(
        &self,
        layer: Layer,
        source: impl Read + Send,
        how: &Ingest,
        sink: Sink<'_>,
    ) -> Result<(Layer, Finished), ImageError> {
        let unpacking = self.start_unpacking(how, Some(&layer.diff_id))?;
        let (stored, unpacked) = unpacking.run(source, how, sink)?;
        let mut described = stored.into_layer();
        described.kept = layer.kept;
        let finished = unpacking.finished(&described, unpacked);
        Ok((described, finished))
    }

    fn put_in_place(&self, finished: Finished) -> Result<(), ImageError> {
        match finished.record {
            Some(record) => self.keep_layer(finished.scratch.path(), &record),
            None => Ok(()),
        }
    }

    /// A layer whose tree and blob are here already; the caller holds the layer's lock.
    fn known_layer(&self, how: &Ingest) -> Result<Option<Layer>, ImageError> {
        let (Some(diff_id), Some(digest)) = (&how.diff_id, &how.digest) else {
            return Ok(None);
        };
        let layer = Layer::new(diff_id.clone(), digest.clone(), 0, String::new());
        match self.claim_layer(&layer)? {
            Some(layer) => self.describe(layer).map(Some),
            None => Ok(None),
        }
    }

    /// A layer that is here, with the size and kind of its blob. One that was made here may have none.
    fn describe(&self, mut layer: Layer) -> Result<Layer, ImageError> {
        if !self.has_blob(&layer.digest)
            && let Some(record) = self.layer_record(&layer.diff_id)?
        {
            layer.media_type = record.layer.media_type;
            layer.size = record.layer.size;
            return Ok(layer);
        }
        let mut blob = io::BufReader::new(self.open_blob(LAYER, &layer.digest)?);
        let path = self.blob_path(&layer.digest);
        let compression = crate::stream::sniff(&mut blob).map_err(ImageError::io("read", &path))?;
        layer.media_type = compression.media_type().to_owned();
        layer.size = fs::metadata(&path)
            .map_err(ImageError::io("read", &path))?
            .len();
        Ok(layer)
    }

    /// A root file system tar (also gzip or zstd) becomes a one-layer image. Programs are found by
    /// Docker's default `PATH`, and the command is a shell if there is one.
    pub fn import_rootfs(
        &self,
        tar: impl Read + Send,
        name: &str,
    ) -> Result<crate::Image, ImageError> {
        let reference: crate::Reference = name.parse()?;
        let mut how = Ingest::new(format!(
            "the root file system of `{}`",
            reference.familiar()
        ));
        how.plain = Plain::Compress;
        let layer = self.ingest(tar, &how)?;
        let mut config = serde_json::json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        let root = crate::unpack::Root::open(&self.layer_path(&layer))
            .map_err(ImageError::io("open", &self.layer_path(&layer)))?;
        if matches!(root.open_file("/bin/sh"), Ok(Some(_))) {
            config["Cmd"] = serde_json::json!(["/bin/sh"]);
        }
        let image = self.put_image_json(serde_json::json!({ "config": config }), vec![layer])?;
        self.tag(&image, name)?;
        Ok(image)
    }
}

impl IncomingLayer {
    fn layer(&self) -> Layer {
        Layer::new(self.diff_id.clone(), self.digest.clone(), 0, String::new())
    }

    fn how(&self) -> Ingest {
        let mut how = Ingest::new(format!("layer {}", self.digest));
        how.diff_id = Some(self.diff_id.clone());
        how.digest = Some(self.digest.clone());
        how
    }
}

impl Ingest {
    /// Of a layer of which nothing is known.
    pub(crate) fn new(what: String) -> Self {
        Self {
            what,
            diff_id: None,
            digest: None,
            plain: Plain::Keep,
            limits: UnpackLimits::default(),
        }
    }

    fn failed(&self, source: crate::UnpackError) -> ImageError {
        ImageError::Unpack {
            layer: self.what.clone(),
            source,
        }
    }

    fn check(&self, stored: &Stored) -> Result<(), ImageError> {
        for (expected, actual, part) in [
            (&self.digest, &stored.digest, "the blob of"),
            (&self.diff_id, &stored.diff_id, "the uncompressed tar of"),
        ] {
            if let Some(expected) = expected
                && expected != actual
            {
                return Err(ImageError::DigestMismatch {
                    what: format!("{part} {}", self.what),
                    expected: expected.clone(),
                    actual: actual.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Whether what came is no good, as against a disk that is full.
fn is_damage(error: &ImageError) -> bool {
    match error {
        ImageError::DigestMismatch { .. } => true,
        ImageError::Unpack { source, .. } => match source {
            crate::UnpackError::Entry { source, .. } | crate::UnpackError::Archive(source) => {
                source.kind() != io::ErrorKind::StorageFull
            }
            _ => true,
        },
        _ => false,
    }
}

/// Notes that a stream failed.
struct Watched<'a, R>(R, &'a AtomicBool);

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.0.read(buffer);
        if result
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::Interrupted)
        {
            self.1.store(true, Relaxed);
        }
        result
    }
}
