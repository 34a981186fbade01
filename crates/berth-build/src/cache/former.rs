//! Which files of which layer a `COPY` of the context made last time, so that the next one need not
//! copy again what is still the same ([`crate::copy::Reuse`]).
//!
//! ```text
//! berth-copy 1
//! <diff id, hex>\n
//! <device> <inode> <size> <modified ns> <changed ns> <path in the layer, to the NUL>
//! ```
//!
//! The numbers are those of the file of the context when it was copied.
//!
//! Invariant: a file is only noted if it had not been changed for a while when its copying began, and
//! was the same when it ended (see [`super::stat`]).

use std::collections::HashMap;
use std::io;
use std::path::Path;

use berth_image::{Digest, ImageStore, Layer};

use super::stat::Identity;

const MAGIC: &str = "berth-copy 1\n";

/// What a `COPY` made last time. Its layer stays as long as this.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) layer: Layer,
    /// Path in the layer → the file that it was copied from.
    pub(crate) files: HashMap<Vec<u8>, Identity>,
}

impl Former {
    /// Nothing if nothing is noted, or it cannot be read, or the layer is gone.
    pub(crate) fn load(store: &ImageStore, path: &Path) -> Option<Self> {
        let bytes = fs_err::read(path).ok()?;
        let (diff_id, files) = split(&bytes)?;
        Some(Self {
            layer: store.layer(&diff_id).ok()??,
            files: parse(files)?,
        })
    }

    /// The layer of a note.
    pub(super) fn layer_of(path: &Path) -> Option<Digest> {
        split(&fs_err::read(path).ok()?).map(|(diff_id, _)| diff_id)
    }

    /// Notes it. Failing to do so costs time later, but no build.
    pub(crate) fn save(path: &Path, layer: &Layer, files: &HashMap<Vec<u8>, Identity>) {
        let write = || -> io::Result<()> {
            let directory = path.parent().unwrap_or(path);
            fs_err::create_dir_all(directory)?;
            super::replace(directory, path, &spell(&layer.diff_id, files)?)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "copied files not recorded");
        }
    }
}

fn spell(diff_id: &Digest, files: &HashMap<Vec<u8>, Identity>) -> io::Result<Vec<u8>> {
    let mut bytes = format!("{MAGIC}{}\n", diff_id.hex()).into_bytes();
    for (name, identity) in files {
        identity.spell(&mut bytes)?;
        bytes.extend_from_slice(name);
        bytes.push(0);
    }
    Ok(bytes)
}

/// The layer, and what follows.
fn split(bytes: &[u8]) -> Option<(Digest, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let hex = std::str::from_utf8(&rest[..end]).ok()?;
    Some((format!("sha256:{hex}").parse().ok()?, &rest[end + 1..]))
}

/// `None` if anything is not as it was written.
fn parse(mut rest: &[u8]) -> Option<HashMap<Vec<u8>, Identity>> {
    let mut files = HashMap::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let mut fields = rest[..end].splitn(6, |byte| *byte == b' ');
        let identity = Identity::parse(&mut fields)?;
        files.insert(fields.next()?.to_vec(), identity);
        rest = &rest[end + 1..];
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "1").unwrap();
        let identity = Identity::of(&rustix::fs::stat(&file).unwrap());
        let diff_id = Digest::of(b"layer");
        let files: HashMap<_, _> = [b"a b/c\n".to_vec(), b"\xff".to_vec()]
            .into_iter()
            .map(|name| (name, identity))
            .collect();
        let bytes = spell(&diff_id, &files).unwrap();
        let (read, rest) = split(&bytes).unwrap();
        assert_eq!(read, diff_id);
        assert_eq!(parse(rest).unwrap(), files);
        for end in 0..bytes.len() {
            // A file that was cut off says less or nothing, and never something else.
            let cut = split(&bytes[..end]).and_then(|(_, rest)| parse(rest));
            assert!(cut.is_none_or(|cut| {
                cut.iter()
                    .all(|(name, known)| files.get(name) == Some(known))
            }));
        }
    }
}
