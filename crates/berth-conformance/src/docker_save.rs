//! Facts of an image that `docker save` wrote.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::Context as _;
use serde_json::Value;

use crate::{Facts, read_layer};

/// Reads an archive with one image.
///
/// # Errors
/// It is not such an archive.
pub fn read_docker_save(archive: impl Read, base_diff_id: &str) -> anyhow::Result<Facts> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    let file = |name: &str| {
        files
            .get(name)
            .with_context(|| format!("`{name}` is not in the archive"))
    };
    let manifest: Value = serde_json::from_slice(file("manifest.json")?)?;
    let image = &manifest[0];
    let config = image["Config"].as_str().context("no `Config`")?;
    let configuration: Value = serde_json::from_slice(file(config)?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names: Vec<String> = image["Layers"]
        .as_array()
        .context("no `Layers`")?
        .iter()
        .filter_map(text)
        .collect();
    let diff_ids: Vec<String> = configuration["rootfs"]["diff_ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect();
    let mut layers = Vec::new();
    for (name, diff_id) in names.iter().zip(diff_ids) {
        layers.push((diff_id, read_layer(file(name)?.as_slice())?));
    }
    Facts::new(&configuration, layers, base_diff_id)
}
