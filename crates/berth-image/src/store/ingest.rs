//! Layers coming in: one pass over the stream that stores the blob, computes both digests and unpacks
//! the tree, on two threads (decompress and hash; untar and write).

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fs_err as fs;
use sha2::{Digest as _, Sha256};

use super::ImageStore;
use super::layers::LayerRecord;
use crate::stream::{Compression, HashWriter, Tee, decompress, sniff};
use crate::unpack::{UnpackLimits, unpack};
use crate::{Digest, ImageError, Layer};

const CHUNK: usize = 256 * 1024;
/// Chunks between the two threads.
const CHUNKS_AHEAD: usize = 16;
/// zstd's fastest regular level. On a 179 MB `node_modules`, zstd -1 took 0.8 s of CPU for 54 MB and
/// gzip -1 3.1 s for 58 MB.
pub(crate) const ZSTD_LEVEL: i32 = 1;

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

/// What the first thread found out.
struct Stored {
    diff_id: Digest,
    digest: Digest,
    size: u64,
    compression: Compression,
}

impl ImageStore {
    /// Takes in a layer. If its diff id is known and it is unpacked already, only the blob is stored;
    /// if that is here too, `source` is not read at all.
    pub(crate) fn ingest(
        &self,
        source: impl Read + Send,
        how: &Ingest,
    ) -> Result<Layer, ImageError> {
        let locked = match &how.diff_id {
            Some(diff_id) => Some(self.lock_layer(diff_id)?),
            None => None,
        };
        if let Some(known) = self.known_layer(how)? {
            return Ok(known);
        }
        let present = how
            .diff_id
            .as_ref()
            .is_some_and(|diff_id| self.has_tree(diff_id));
        let scratch = self.scratch("layer-")?;
        let tree = scratch.path().join("fs");
        fs::create_dir(&tree).map_err(ImageError::io("create", &tree))?;
        set_root_mode(&tree)?;
        let blob = self.new_blob()?;

        let (stored, unpacked) = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
            let file = blob.as_file();
            let producer = scope.spawn(move || produce(source, file, how.plain, &sender));
            let mut chunks = Chunks::new(receiver);
            let unpacked = if present {
                io::copy(&mut chunks, &mut io::sink())
                    .map(|_| Default::default())
                    .map_err(crate::UnpackError::Archive)
            } else {
                unpack(&tree, &mut chunks, how.limits)
            };
            drop(chunks);
            (producer.join(), unpacked)
        });
        let failed = |source| ImageError::Unpack {
            layer: how.what.clone(),
            source,
        };
        // The second thread's error comes first: the first one fails with it when nobody reads on.
        let unpacked = unpacked.map_err(failed)?;
        let stored = stored
            .map_err(|_| io::Error::other("the reading thread panicked"))
            .and_then(|stored| stored)
            .map_err(|source| failed(crate::UnpackError::Archive(source)))?;
        how.check(&stored)?;

        let layer = Layer {
            diff_id: stored.diff_id,
            digest: stored.digest,
            size: stored.size,
            media_type: stored.compression.media_type().to_owned(),
        };
        self.flush()?;
        self.keep_blob(blob, &layer.digest)?;
        if !present {
            let _lock = match locked {
                Some(lock) => lock,
                None => self.lock_layer(&layer.diff_id)?,
            };
            let record = LayerRecord {
                layer: layer.clone(),
                bytes: unpacked.bytes,
            };
            self.keep_layer(scratch.path(), &record)?;
        }
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
        let layer = self.ingest(
            tar,
            &Ingest {
                what: format!("the root file system of `{}`", reference.familiar()),
                diff_id: None,
                digest: None,
                plain: Plain::Compress,
                limits: UnpackLimits::default(),
            },
        )?;
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

impl Ingest {
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

/// The tree's own root, for archives without an entry for it.
fn set_root_mode(tree: &std::path::Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(tree, std::fs::Permissions::from_mode(0o755))
        .map_err(ImageError::io("set the mode of", tree))
}

/// First thread: reads the source, stores the blob, passes the plain tar on.
fn produce(
    source: impl Read + Send,
    blob: &std::fs::File,
    plain: Plain,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> io::Result<Stored> {
    let result = produce_all(source, blob, plain, sender);
    if let Err(error) = &result {
        let copy = io::Error::new(error.kind(), error.to_string());
        // Nobody listens if unpacking failed first.
        let _ = sender.send(Err(copy));
    }
    result
}

fn produce_all(
    source: impl Read + Send,
    blob: &std::fs::File,
    plain: Plain,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> io::Result<Stored> {
    let mut reader = BufReader::with_capacity(CHUNK, source);
    let compression = sniff(&mut reader)?;
    let mut blob = BufWriter::with_capacity(CHUNK, blob);
    if compression == Compression::None && plain == Plain::Compress {
        let mut encoder = zstd::Encoder::new(HashWriter::new(blob), ZSTD_LEVEL)?;
        let diff_id = pump(&mut reader, sender, |chunk| encoder.write_all(chunk))?;
        let (digest, size, mut blob) = encoder.finish()?.finish();
        blob.flush()?;
        return Ok(Stored {
            diff_id,
            digest,
            size,
            compression: Compression::Zstd,
        });
    }
    let mut raw = Tee::new(reader, Some(&mut blob));
    let diff_id = {
        let buffered = BufReader::with_capacity(CHUNK, &mut raw);
        let mut plain_tar = decompress(compression, buffered)?;
        pump(&mut plain_tar, sender, |_| Ok(()))?
    };
    io::copy(&mut raw, &mut io::sink())?;
    let (digest, size, _) = raw.finish();
    blob.flush()?;
    Ok(Stored {
        diff_id,
        digest,
        size,
        compression,
    })
}

/// Sends all of `reader` on in chunks; returns the digest of it.
fn pump(
    reader: &mut impl Read,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(Digest::from_hasher(hasher));
        }
        hasher.update(&chunk);
        each(&chunk)?;
        if sender.send(Ok(chunk)).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// The second thread's end.
struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
}

impl Chunks {
    fn new(receiver: Receiver<io::Result<Vec<u8>>>) -> Self {
        Self {
            receiver,
            chunk: io::Cursor::default(),
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.chunk.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.receiver.recv() {
                Ok(chunk) => self.chunk = io::Cursor::new(chunk?),
                Err(_) => return Ok(0),
            }
        }
    }
}
