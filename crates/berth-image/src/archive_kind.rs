//! Tells an image archive from a root file system by looking at its first entries: the first one that
//! no image archive has decides.

use std::io::BufReader;
use std::path::Path;

use crate::ImageError;
use crate::stream::{decompress, sniff};
use crate::tar_read::{Kind, TarReader};

/// Whether `path` is an OCI layout (a directory or a tar) or a `docker save` tar, rather than a tar
/// of a root file system.
///
/// # Errors
/// [`ImageError::Io`] when it cannot be read or is no tar at all.
pub fn is_archive(path: &Path) -> Result<bool, ImageError> {
    if path.is_dir() {
        return Ok(true);
    }
    let io = |source| ImageError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = fs_err::File::open(path).map_err(io)?;
    let mut reader = BufReader::new(file.into_file());
    let compression = sniff(&mut reader).map_err(io)?;
    let mut tar = TarReader::new(decompress(compression, reader).map_err(io)?);
    let mut seen = false;
    while let Some(entry) = tar.next_entry().map_err(io)? {
        let name = String::from_utf8_lossy(&entry.path);
        let name = name.trim_start_matches("./");
        if matches!(
            name,
            "oci-layout" | "index.json" | "manifest.json" | "repositories"
        ) {
            return Ok(true);
        }
        if !belongs_to_archive(name, entry.kind) {
            return Ok(false);
        }
        seen |= !name.is_empty();
    }
    Ok(seen)
}

/// Whether an entry can stand before the telling ones: `blobs/…`, or what older Docker versions
/// write, a directory or a configuration named by 64 hex digits.
fn belongs_to_archive(name: &str, kind: Kind) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let hex = first.strip_suffix(".json").unwrap_or(first);
    first.is_empty()
        || (first == "blobs" && matches!(kind, Kind::File | Kind::Directory))
        || (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(names: &[&str]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(&mut file);
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, &b"x"[..]).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        file
    }

    #[test]
    fn archives_and_root_file_systems_are_told_apart() {
        let hex = "a".repeat(64);
        let archive = |names: &[&str]| is_archive(tar(names).path()).unwrap();
        assert!(archive(&["blobs/sha256/aa", "index.json"]));
        assert!(archive(&["./oci-layout"]));
        assert!(archive(&[
            &format!("{hex}/layer.tar"),
            &format!("{hex}.json"),
            "manifest.json"
        ]));
        assert!(!archive(&["bin/sh", "manifest.json"]));
        assert!(!archive(&["./etc/passwd"]));
        assert!(!archive(&[]));
        assert!(is_archive(std::env::temp_dir().as_path()).unwrap());
    }
}
