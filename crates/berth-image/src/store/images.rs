//! Manifests and configurations: reading an image, putting a new one together.

use std::collections::BTreeMap;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ingest::Ingest;
use super::names::Record;
use super::{Hold, ImageStore, Item, LAYER};
use crate::stream::Compression;
use crate::{Digest, Image, ImageError, Layer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A reference to content, as in manifests and indexes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// An image manifest (OCI or Docker schema 2).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    /// Must be absent: a document that is both manifest and index means different things to
    /// different readers (CVE-2021-41190).
    manifests: Option<Value>,
}

impl Manifest {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self = crate::json::parse(bytes, "the image manifest")?;
        if manifest.manifests.is_some() {
            return Err(ImageError::BadImage(
                "a document claims to be a manifest and an index at once".to_owned(),
            ));
        }
        Ok(manifest)
    }
}

impl ImageStore {
    /// Reads an image that is held; a tree that is missing is unpacked again from its blob.
    pub(super) fn load(&self, manifest: &Digest, hold: Hold) -> Result<Image, ImageError> {
        let parsed = Manifest::parse(&self.read_blob("image manifest", manifest)?)?;
        let id = parsed.config.digest;
        let bytes = self.read_blob("image configuration", &id)?;
        let config: ImageConfiguration = crate::json::parse(&bytes, "the image configuration")?;
        let mut layers = pair_layers(parsed.layers, &config)?;
        for layer in &mut layers {
            layer.kept = hold.clone().into();
            if !self.has_tree(&layer.diff_id) {
                self.restore(layer)?;
            }
        }
        Ok(Image {
            id,
            config: Arc::new(config),
            layers,
            manifest: manifest.clone(),
            _kept: hold.into(),
        })
    }

    /// Whether all that a manifest leads to is here.
    fn is_complete(&self, manifest: &Digest) -> bool {
        let layers = || -> Result<Vec<Layer>, ImageError> {
            let parsed = Manifest::parse(&self.read_blob("image manifest", manifest)?)?;
            let config = self.read_blob("image configuration", &parsed.config.digest)?;
            let config = crate::json::parse(&config, "the image configuration")?;
            pair_layers(parsed.layers, &config)
        };
        layers().is_ok_and(|layers| layers.iter().all(|layer| self.has_layer(layer)))
    }

    fn restore(&self, layer: &Layer) -> Result<(), ImageError> {
        tracing::info!(layer = %layer.diff_id, "unpacking again from the blob");
        let mut how = Ingest::new(format!("layer {}", layer.diff_id));
        how.diff_id = Some(layer.diff_id.clone());
        how.digest = Some(layer.digest.clone());
        let blob = self.open_blob(LAYER, &layer.digest)?;
        self.ingest(blob, &how).map(drop)
    }

    pub(super) fn unpacked_size(&self, manifest: &Digest) -> Result<u64, ImageError> {
        let manifest = Manifest::parse(&self.read_blob("image manifest", manifest)?)?;
        let bytes = self.read_blob("image configuration", &manifest.config.digest)?;
        let config: ImageConfiguration = crate::json::parse(&bytes, "the image configuration")?;
        pair_layers(manifest.layers, &config)?
            .iter()
            .map(|layer| self.layer_bytes(&layer.diff_id))
            .sum()
    }

    /// Stores an image whose configuration is exactly these bytes.
    pub(crate) fn put_config(
        &self,
        config: &[u8],
        layers: Vec<Layer>,
    ) -> Result<Image, ImageError> {
        let id = Digest::of(config);
        let _config = self.put_blob(config)?;
        let descriptors: Vec<Descriptor> = layers
            .iter()
            .map(|layer| Descriptor {
                media_type: oci(&layer.media_type).to_owned(),
                digest: layer.digest.clone(),
                size: layer.size,
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": Descriptor {
                media_type: CONFIG.to_owned(),
                digest: id,
                size: config.len() as u64,
            },
            "layers": descriptors,
        });
        let manifest = crate::json::canonical(manifest);
        let _manifest = self.put_blob(&manifest)?;
        let image = self.register(&Digest::of(&manifest), &[]);
        // Until now only they kept their content from being collected.
        drop(layers);
        image
    }

    /// Stores an image as it came: its manifest, configuration and layers, checked against each
    /// other and the manifest's `digest`. `aliases` are the digests of indexes that led to it.
    pub fn add_image(
        &self,
        digest: &Digest,
        manifest: &[u8],
        config: &[u8],
        layers: &[Layer],
        aliases: &[Digest],
    ) -> Result<Image, ImageError> {
        let manifest = digest.check(manifest.to_vec(), "the image manifest")?;
        let parsed = Manifest::parse(&manifest)?;
        let config = parsed
            .config
            .digest
            .check(config.to_vec(), "the image configuration")?;
        let wanted = pair_layers(
            parsed.layers,
            &crate::json::parse(&config, "the image configuration")?,
        )?;
        for layer in &wanted {
            let has =
                |given: &Layer| (&given.diff_id, &given.digest) == (&layer.diff_id, &layer.digest);
            if !layers.iter().any(has) {
                return Err(ImageError::MissingBlob {
                    what: LAYER,
                    digest: layer.digest.clone(),
                });
            }
        }
        let _config = self.put_blob(&config)?;
        let _manifest = self.put_blob(&manifest)?;
        self.register(digest, aliases)
    }

    /// Enters an image whose manifest, configuration and layers are in the store and held.
    pub(crate) fn register(
        &self,
        manifest: &Digest,
        aliases: &[Digest],
    ) -> Result<Image, ImageError> {
        let hold = self.hold(vec![Item::Manifest(manifest.clone(), String::new())])?;
        let image = self.load(manifest, hold)?;
        let created = image
            .config
            .created()
            .as_deref()
            .and_then(crate::json::unix_seconds)
            .unwrap_or(0);
        self.change_index(|index| {
            let record = index.images.entry(image.id.clone()).or_insert(Record {
                manifest: manifest.clone(),
                created,
                aliases: Vec::new(),
                repositories: BTreeMap::new(),
            });
            // A manifest whose layers are lost leads to nothing any more.
            if record.manifest != *manifest && !self.is_complete(&record.manifest) {
                record.change_manifest(manifest);
            }
            // Two manifests can lead to the same image, with layers that are compressed differently.
            let other = (record.manifest != *manifest).then_some(manifest);
            for alias in aliases.iter().chain(other) {
                if !record.aliases.contains(alias) {
                    record.aliases.push(alias.clone());
                }
            }
            Ok(())
        })?;
        self.touch(&image);
        Ok(image)
    }
}

/// What OCI calls a layer that has Docker's name, in an image on top of one from a Docker registry:
/// some registries refuse manifests in which both are mixed.
fn oci(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::Gzip.media_type(),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd.media_type(),
        "application/vnd.docker.image.rootfs.diff.tar" => Compression::None.media_type(),
        other => other,
    }
}

/// Manifest and configuration list the same layers in the same order.
pub(crate) fn pair_layers(
    descriptors: Vec<Descriptor>,
    config: &ImageConfiguration,
) -> Result<Vec<Layer>, ImageError> {
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != descriptors.len() {
        return Err(ImageError::BadImage(format!(
            "its manifest has {} layers and its configuration {}",
            descriptors.len(),
            diff_ids.len()
        )));
    }
    descriptors
        .into_iter()
        .zip(diff_ids)
        .map(|(descriptor, diff_id)| {
            let Descriptor {
                media_type,
                digest,
                size,
            } = descriptor;
            Ok(Layer::new(diff_id.parse()?, digest, size, media_type))
        })
        .collect()
}

pub(super) fn put(
    store: &ImageStore,
    mut config: Value,
    layers: Vec<Layer>,
) -> Result<Image, ImageError> {
    let Some(fields) = config.as_object_mut() else {
        return Err(ImageError::BadImage(
            "its configuration is no JSON object".to_owned(),
        ));
    };
    for layer in &layers {
        if !store.has_content(layer) {
            return Err(ImageError::MissingBlob {
                what: LAYER,
                digest: layer.digest.clone(),
            });
        }
    }
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
    fields.insert(
        "rootfs".to_owned(),
        json!({ "type": "layers", "diff_ids": diff_ids }),
    );
    fields
        .entry("os")
        .or_insert_with(|| crate::archive::OS.into());
    fields
        .entry("architecture")
        .or_insert_with(|| crate::archive::architecture().into());
    store.put_config(&crate::json::canonical(config), layers)
}
