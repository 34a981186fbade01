//! Images made on the spot: layers of many small files and layers of a few large ones, about half as
//! large when compressed. As `docker save` wrote them before it wrote OCI layouts, with compressed
//! layers, which all three read.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err::File;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Packing {
    /// As `docker save` has it.
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The name that the images bring.
pub(super) const NAME: &str = "bench/unpack:latest";

/// Archives of the same layers.
pub(super) fn make(
    directory: &Path,
    megabytes: u64,
    layers: u64,
    packings: &[Packing],
) -> anyhow::Result<Vec<(Packing, PathBuf)>> {
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut tars = Vec::new();
    for layer in 0..layers {
        let path = directory.join(format!("{layer}.tar"));
        let small = layer % 2 == 0;
        let bytes = megabytes * 1_000_000 / layers;
        let diff_id = write_layer(&path, layer, bytes, small, &mut random)?;
        tars.push((path, diff_id));
    }
    let mut archives = Vec::new();
    for packing in packings.iter().copied() {
        let archive = directory.join(format!("{}.tar", packing.name()));
        pack(&archive, &tars, packing, NAME)?;
        archives.push((packing, archive));
    }
    for (tar, _) in tars {
        fs_err::remove_file(tar)?;
    }
    Ok(archives)
}

fn write_layer(
    path: &Path,
    layer: u64,
    bytes: u64,
    small: bool,
    random: &mut rand::rngs::StdRng,
) -> anyhow::Result<String> {
    let mut tar = tar::Builder::new(std::io::BufWriter::new(File::create(path)?));
    let below = format!("layer-{layer}");
    add_files(&mut tar, &below, bytes, small, random)?;
    tar.into_inner()?.flush()?;
    digest(path)
}

/// Adds files to a directory, small ones or large ones: so many bytes in all.
pub(in crate::bench) fn add_files(
    tar: &mut tar::Builder<impl Write>,
    below: &str,
    bytes: u64,
    small: bool,
    random: &mut rand::rngs::StdRng,
) -> anyhow::Result<()> {
    let (mut written, mut number) = (0, 0);
    while written < bytes {
        let size: u64 = if small {
            random.random_range(200..20_000)
        } else {
            random.random_range(4_000_000..60_000_000)
        };
        let size = size.min(bytes - written);
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let name = format!("{below}/{}/{number}", number / 200);
        let content = Content(random.random()).take(size);
        tar.append_data(&mut header, name, content)?;
        written += size;
        number += 1;
    }
    Ok(())
}

/// Bytes of which every other 64 are the same.
struct Content(u64);

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let word = if self.0 >> 63 == 0 { 0 } else { self.0 >> 7 };
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(buffer.len())
    }
}

pub(in crate::bench) fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("sha256:{:x}", hasher.finalize()))
}

/// An archive of layers, given as tars and their digests.
pub(in crate::bench) fn pack(
    archive: &Path,
    tars: &[(PathBuf, String)],
    packing: Packing,
    image: &str,
) -> anyhow::Result<()> {
    let mut tar = tar::Builder::new(File::create(archive)?);
    let diff_ids: Vec<&String> = tars.iter().map(|(_, diff_id)| diff_id).collect();
    let config = serde_json::json!({
        "os": "linux",
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "config": { "Cmd": ["/nothing"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let config_name = format!("{:x}.json", Sha256::digest(config.as_bytes()));
    let mut names = Vec::new();
    for (path, diff_id) in tars {
        let packed = path.with_extension(packing.name());
        compress(path, &packed, packing)?;
        // As `docker save` names it; by that an archive is known from a root file system.
        let directory = diff_id.trim_start_matches("sha256:");
        let name = format!("{directory}/layer.tar");
        tar.append_path_with_name(&packed, &name)?;
        fs_err::remove_file(packed)?;
        names.push(name);
    }
    let manifest = serde_json::json!([{
        "Config": config_name, "RepoTags": [image], "Layers": names,
    }])
    .to_string();
    for (name, text) in [
        (config_name.as_str(), &config),
        ("manifest.json", &manifest),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes())?;
    }
    tar.into_inner()?
        .flush()
        .context("could not write the archive")
}

/// With the levels that Docker and most others use.
fn compress(path: &Path, packed: &Path, packing: Packing) -> anyhow::Result<()> {
    let mut source = File::open(path)?;
    let target = File::create(packed)?;
    match packing {
        Packing::Plain => drop(std::io::copy(&mut source, &mut { target })?),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::new(6));
            std::io::copy(&mut source, &mut encoder)?;
            encoder.finish()?;
        }
        Packing::Zstd => {
            let mut encoder = zstd::Encoder::new(target, 3)?;
            std::io::copy(&mut source, &mut encoder)?;
            encoder.finish()?;
        }
    }
    Ok(())
}
