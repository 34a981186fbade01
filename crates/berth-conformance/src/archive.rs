//! Writing archives of a context, with whatever names and links they are asked for.

use std::io::Write;

use anyhow::Context as _;
use tar::{Builder, EntryType, Header};

use crate::{Entry, EntryKind, FIXED_TIME};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// By the end of a file's name.
    pub(crate) fn of_name(name: &str) -> Self {
        if name.ends_with(".gz") || name.ends_with(".tgz") {
            Self::Gzip
        } else if name.ends_with(".zst") {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

/// Writes an archive.
pub(crate) fn write(
    entries: &[Entry],
    target: impl Write,
    compression: Compression,
) -> anyhow::Result<()> {
    match compression {
        Compression::Plain => plain(entries, target).map(drop),
        Compression::Gzip => {
            let encoder = flate2::write::GzEncoder::new(target, flate2::Compression::default());
            plain(entries, encoder)?.finish().map(drop)?;
            Ok(())
        }
        Compression::Zstd => {
            plain(entries, zstd::Encoder::new(target, 1)?)?.finish()?;
            Ok(())
        }
    }
}

fn plain<W: Write>(entries: &[Entry], target: W) -> anyhow::Result<W> {
    let mut tar = Builder::new(target);
    for entry in entries {
        append(&mut tar, entry).with_context(|| format!("archive entry `{}`", entry.path))?;
    }
    Ok(tar.into_inner()?)
}

fn append<W: Write>(tar: &mut Builder<W>, entry: &Entry) -> anyhow::Result<()> {
    if !entry.xattrs.is_empty() {
        let records: Vec<(String, &[u8])> = entry
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_bytes()))
            .collect();
        tar.append_pax_extensions(records.iter().map(|(name, value)| (name.as_str(), *value)))?;
    }
    let mut header = Header::new_ustar();
    // `set_path` refuses what hostile archives are made of.
    let name = entry.path.as_bytes();
    header
        .as_mut_bytes()
        .get_mut(..name.len().min(100))
        .context("a header has a name")?
        .copy_from_slice(name.get(..100).unwrap_or(name));
    let (uid, gid) = entry.ids()?;
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mode(entry.permissions()?);
    header.set_mtime(FIXED_TIME.unsigned_abs());
    let mut data: Vec<u8> = Vec::new();
    let mut link: Option<&str> = None;
    let kind = match &entry.kind {
        EntryKind::Text(text) => {
            data = text.as_bytes().to_vec();
            EntryType::Regular
        }
        EntryKind::Zeros(size) => {
            data = vec![0; usize::try_from(*size)?];
            EntryType::Regular
        }
        EntryKind::Directory(_) => EntryType::Directory,
        EntryKind::Symlink(to) => {
            link = Some(to);
            EntryType::Symlink
        }
        EntryKind::Link(to) => {
            link = Some(to);
            EntryType::Link
        }
        EntryKind::Fifo(_) => EntryType::Fifo,
        EntryKind::Device([major, minor]) => {
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            EntryType::Char
        }
        EntryKind::Socket(_) | EntryKind::Archive(_) => {
            anyhow::bail!("an archive holds no sockets, and no archives but as files")
        }
    };
    header.set_entry_type(kind);
    if let Some(link) = link {
        header.set_link_name_literal(link)?;
    }
    header.set_size(data.len() as u64);
    header.set_cksum();
    tar.append(&header, data.as_slice())?;
    Ok(())
}
