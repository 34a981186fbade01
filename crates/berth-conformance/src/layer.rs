//! What is in a layer, one line for each path.
//!
//! The lines have no order of their own: of several names of one file, the first in the alphabet is
//! the one that the others refer to, in whatever order the archive has them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

/// Times before this (2020) were brought along; later ones are those of the build itself, which are
/// different each time.
const OLD: i64 = 1_577_836_800;
/// Deletes one name.
const WHITEOUT: &[u8] = b".wh.";
/// Deletes everything that was in the directory below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Line that says that a path of a lower layer is gone.
pub(crate) const GONE: &str = "gone";
/// First word of directories that hide what a lower layer had in them.
pub(crate) const OPAQUE_WORD: &str = "opaque ";

/// Path without a slash at the beginning (bytes that are no UTF-8 as `\xff`) → what it is.
pub type LayerFacts = BTreeMap<String, String>;

/// Reads a layer, compressed or not.
///
/// # Errors
/// It is no archive, or has entries of unknown types.
pub fn read_layer(source: impl Read) -> anyhow::Result<LayerFacts> {
    let mut source = BufReader::new(source);
    let magic = source.fill_buf()?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return read_plain(flate2::read::MultiGzDecoder::new(source));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return read_plain(zstd::Decoder::with_buffer(source)?);
    }
    read_plain(source)
}

#[derive(Default)]
struct Layer {
    lines: LayerFacts,
    opaque: Vec<String>,
    /// Other name → name that the archive refers to.
    links: Vec<(String, String)>,
}

fn read_plain(source: impl Read) -> anyhow::Result<LayerFacts> {
    let mut layer = Layer::default();
    let mut archive = Archive::new(source);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = name(&entry.path_bytes());
        layer
            .entry(&mut entry, &path)
            .with_context(|| format!("`{path}` in a layer"))?;
    }
    Ok(layer.finish())
}

impl Layer {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &str) -> anyhow::Result<()> {
        let raw = entry.path_bytes().into_owned();
        let base = raw.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if base == OPAQUE {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            self.opaque.push(parent.to_owned());
            return Ok(());
        }
        if let Some(hidden) = base.strip_prefix(WHITEOUT) {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let path = format!("{parent}/{}", escape(hidden));
            self.lines
                .insert(path.trim_start_matches('/').to_owned(), GONE.to_owned());
            return Ok(());
        }
        if entry.header().entry_type() == EntryType::Link {
            let target = entry.link_name_bytes().context("a link without a target")?;
            self.links.push((path.to_owned(), name(&target)));
            return Ok(());
        }
        let line = describe(entry)?;
        self.lines.insert(path.to_owned(), line);
        Ok(())
    }

    fn finish(mut self) -> LayerFacts {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (other, first) in self.links {
            groups.entry(first).or_default().push(other);
        }
        for (first, mut names) in groups {
            let Some(line) = self.lines.get(&first).cloned() else {
                for name in names {
                    self.lines.insert(
                        name,
                        format!("link to `{first}`, which is not in the layer"),
                    );
                }
                continue;
            };
            names.push(first);
            names.sort();
            let first = names[0].clone();
            for name in names.drain(1..) {
                self.lines.insert(name, format!("same file as {first}"));
            }
            self.lines.insert(first, line);
        }
        for path in self.opaque {
            let line = self.lines.entry(path).or_default();
            *line = format!("{OPAQUE_WORD}{line}");
        }
        self.lines
    }
}

fn describe<R: Read>(entry: &mut tar::Entry<'_, R>) -> anyhow::Result<String> {
    let mut uid = entry.header().uid()?;
    let mut gid = entry.header().gid()?;
    let mut mtime = i64::try_from(entry.header().mtime()?)?;
    let mut xattrs: BTreeMap<String, String> = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
            let value = extension.value_bytes();
            let text = String::from_utf8_lossy(value);
            match key.as_str() {
                "uid" => uid = text.parse()?,
                "gid" => gid = text.parse()?,
                "mtime" => {
                    let seconds = text.split('.').next().unwrap_or_default();
                    mtime = seconds.parse()?;
                }
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        xattrs.insert(name.to_owned(), escape(value));
                    }
                }
            }
        }
    }
    let mode = entry.header().mode()? & 0o7777;
    let owner = format!("{uid}:{gid}");
    let mut line = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut hasher = Sha256::new();
            let size = std::io::copy(entry, &mut hasher)?;
            let digest = hasher.finalize();
            let short: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
            format!("file {mode:04o} {owner} {size} bytes {short}")
        }
        EntryType::Directory => format!("directory {mode:04o} {owner}"),
        EntryType::Symlink => {
            let target = entry.link_name_bytes().context("a link without a target")?;
            format!("symlink {owner} -> {}", escape(&target))
        }
        EntryType::Fifo => format!("fifo {mode:04o} {owner}"),
        kind @ (EntryType::Char | EntryType::Block) => {
            let header = entry.header();
            let major = header.device_major()?.unwrap_or_default();
            let minor = header.device_minor()?.unwrap_or_default();
            let what = if kind == EntryType::Char {
                "character"
            } else {
                "block"
            };
            format!("{what} device {major}:{minor} {mode:04o} {owner}")
        }
        other => bail!("unknown type {other:?}"),
    };
    if mtime < OLD {
        line += &format!(" of {mtime}");
    }
    for (name, value) in xattrs {
        line += &format!(" {name}={value}");
    }
    Ok(line)
}

/// A path without slashes around it and without `.`.
fn name(raw: &[u8]) -> String {
    let parts: Vec<String> = raw
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(escape)
        .collect();
    parts.join("/")
}

fn escape(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
