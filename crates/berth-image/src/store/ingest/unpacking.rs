//! A tree on its way into the store: filled in scratch space, checked, then put in place.

use std::io::{self, Read};

use fs_err as fs;

use super::pipeline::{self, Sink, Stored};
use super::{Ingest, LayerRecord};
use crate::store::ImageStore;
use crate::stream::Compression;
use crate::unpack::{UnpackLimits, Unpacked};
use crate::{Digest, ImageError, Layer};

impl ImageStore {
    pub(super) fn start_unpacking(
        &self,
        how: &Ingest,
        diff_id: Option<&Digest>,
    ) -> Result<Unpacking, ImageError> {
        let scratch = self.scratch("layer-")?;
        let present = diff_id.is_some_and(|diff_id| self.has_tree(diff_id));
        let tree = scratch.path().join("fs");
        fs::create_dir(&tree).map_err(ImageError::io("create", &tree))?;
        set_root_mode(&tree)?;
        Ok(Unpacking {
            scratch,
            present,
            limits: how.limits,
        })
    }
}

/// The tree's own root, for archives without an entry for it.
fn set_root_mode(tree: &std::path::Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(tree, std::fs::Permissions::from_mode(0o755))
        .map_err(ImageError::io("set the mode of", tree))
}

/// A tree that is being filled.
pub(super) struct Unpacking {
    scratch: tempfile::TempDir,
    /// The store has the tree; only the digests are wanted.
    present: bool,
    limits: UnpackLimits,
}

/// A tree that is complete and flushed, or was there before.
pub(super) struct Finished {
    pub(super) scratch: tempfile::TempDir,
    pub(super) record: Option<LayerRecord>,
}

impl Unpacking {
    pub(super) fn run(
        &self,
        source: impl Read + Send,
        how: &Ingest,
        sink: Sink<'_>,
    ) -> Result<(Stored, Unpacked), ImageError> {
        let tree = self.scratch.path().join("fs");
        let result = pipeline::run(source, sink, how.plain, |tar| {
            if self.present {
                io::copy(tar, &mut io::sink())
                    .map(|_| Unpacked::default())
                    .map_err(crate::UnpackError::Archive)
            } else {
                crate::unpack::unpack(&tree, tar, self.limits)
            }
        });
        let (stored, unpacked) = result.map_err(|source| how.failed(source))?;
        how.check(&stored)?;
        Ok((stored, unpacked))
    }

    pub(super) fn finished(self, layer: &Layer, unpacked: Unpacked) -> Finished {
        let record = LayerRecord {
            layer: layer.clone(),
            bytes: unpacked.bytes,
            derived: false,
        };
        Finished {
            scratch: self.scratch,
            record: (!self.present).then_some(record),
        }
    }
}

impl Stored {
    pub(super) fn into_layer(self) -> Layer {
        let media_type = Compression::media_type(self.compression).to_owned();
        Layer::new(self.diff_id, self.digest, self.size, media_type)
    }
}
