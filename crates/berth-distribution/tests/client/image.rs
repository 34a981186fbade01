//! Images made for tests, as registries have them.

use std::collections::BTreeMap;
use std::io::Write as _;

use berth_image::Digest;
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pack {
    Plain,
    Gzip,
    Zstd,
}

/// One image: documents and blobs by digest.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

/// A tar with one file.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

pub(crate) fn pack(tar: &[u8], how: Pack) -> Vec<u8> {
    match how {
        Pack::Plain => tar.to_vec(),
        Pack::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        Pack::Zstd => zstd::encode_all(tar, 1).unwrap(),
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len() })
}

impl TestImage {
    /// Layers with one file each: `file<n>`, of `size` bytes.
    pub(crate) fn new(seed: u64, packs: &[Pack], size: usize) -> Self {
        Self::for_platform(seed, packs, size, "amd64")
    }

    pub(crate) fn for_platform(seed: u64, packs: &[Pack], size: usize, architecture: &str) -> Self {
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for (index, how) in packs.iter().enumerate() {
            let tar = tar(
                &format!("file{index}"),
                &noise(seed * 100 + index as u64, size),
            );
            diff_ids.push(Digest::of(&tar));
            let blob = pack(&tar, *how);
            let end = match how {
                Pack::Plain => "",
                Pack::Gzip => "+gzip",
                Pack::Zstd => "+zstd",
            };
            let kind = format!("application/vnd.oci.image.layer.v1.tar{end}");
            descriptors.push(descriptor(&kind, &blob));
            layers.push(blob);
        }
        let config = json!({
            "os": "linux",
            "architecture": architecture,
            "config": { "Cmd": ["/file0"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": descriptors,
        })
        .to_string()
        .into_bytes();
        Self::of(manifest, config, layers)
    }

    pub(crate) fn of(manifest: Vec<u8>, config: Vec<u8>, layers: Vec<Vec<u8>>) -> Self {
        let blobs = layers
            .iter()
            .chain([&config])
            .map(|blob| (Digest::of(blob).to_string(), blob.clone()))
            .collect();
        Self {
            manifest,
            config,
            layers,
            blobs,
        }
    }

    /// The same image with a changed manifest.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).unwrap();
        edit(&mut manifest);
        let mut edited = self.clone();
        edited.manifest = manifest.to_string().into_bytes();
        edited
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn layer_digest(&self, index: usize) -> Digest {
        Digest::of(&self.layers[index])
    }
}

/// An index over documents: media type, bytes, platform.
pub(crate) fn index(members: &[(&str, &[u8], Option<&str>)]) -> Vec<u8> {
    let members: Vec<Value> = members
        .iter()
        .map(|(kind, bytes, platform)| {
            let mut member = descriptor(kind, bytes);
            if let Some(platform) = platform {
                let parts: Vec<&str> = platform.split('/').collect();
                member["platform"] = json!({ "os": parts[0], "architecture": parts[1] });
                if let Some(variant) = parts.get(2) {
                    member["platform"]["variant"] = json!(variant);
                }
            }
            member
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": members })
        .to_string()
        .into_bytes()
}
