//! Images from registries, when their layers are here.

use super::ImageStore;
use crate::crash::crash_point;
use crate::{Digest, Image, ImageError, Reference};

impl ImageStore {
    /// Enters an image whose layers were received: its manifest and configuration exactly as they
    /// are, the digests of the indexes that led to them, and its name. Asked for by a digest, that is
    /// `<repository>@<digest>`, with and without a tag.
    pub fn receive_image(
        &self,
        manifest: &[u8],
        config: &[u8],
        indexes: &[Digest],
        reference: &Reference,
    ) -> Result<Image, ImageError> {
        let digest = Digest::of(manifest);
        let _held = (self.put_blob(config)?, self.put_blob(manifest)?);
        crash_point("image.described");
        let image = self.register(&digest, indexes)?;
        let top = indexes.first().unwrap_or(&digest);
        self.note_digest(&image, reference, top)?;
        self.name(&image, reference)?;
        Ok(image)
    }

    /// Remembers that a repository has the image under this digest.
    pub fn note_digest(
        &self,
        image: &Image,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(), ImageError> {
        let repository = format!("{}/{}", reference.host(), reference.repository());
        self.change_index(|index| {
            if let Some(record) = index.images.get_mut(&image.id) {
                record.repositories.insert(repository, digest.clone());
            }
            Ok(())
        })
    }

    /// What repositories have the image, and under which digest: `name@sha256:…`, as Docker shows it.
    pub fn repo_digests(&self, image: &Image) -> Result<Vec<String>, ImageError> {
        let index = self.index()?;
        let Some(record) = index.images.get(&image.id) else {
            return Ok(Vec::new());
        };
        record
            .repositories
            .iter()
            .map(|(repository, digest)| {
                let name = repository.parse::<Reference>()?.familiar();
                let name = name.strip_suffix(":latest").unwrap_or(&name);
                Ok(format!("{name}@{digest}"))
            })
            .collect()
    }

    /// The manifest of an image as it is stored, with its digest.
    pub fn manifest(&self, image: &Image) -> Result<(Digest, Vec<u8>), ImageError> {
        let bytes = self.read_blob("image manifest", &image.manifest)?;
        Ok((image.manifest.clone(), bytes))
    }
}
