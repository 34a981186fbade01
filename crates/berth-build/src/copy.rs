//! `COPY` and `ADD`: which files, where to, as whom; their digest for the cache; writing them.
//!
//! Sources and destination are resolved by descriptor inside their roots ([`berth_image::Root`]), so
//! neither a link in the context nor one in the image leads to the host's files.

mod owner;
mod select;
mod write;

use berth_image::{Digest, Layer, Root};

pub(crate) use owner::resolve as resolve_owner;
pub(crate) use select::{Item, ItemKind, SelectError, Selection, Sources};
pub(crate) use write::write;

use crate::cache::Key;
use crate::cache::stat::StatCache;
use crate::dockerfile::Heredoc;

/// A `COPY` or `ADD` whose variables are expanded.
#[derive(Clone, Debug)]
pub(crate) struct CopyPlan {
    pub(crate) sources: Vec<String>,
    pub(crate) heredocs: Vec<Heredoc>,
    /// Absolute; ends with `/` if it must be a directory.
    pub(crate) destination: String,
    /// As written after `--chown`.
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<u32>,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
    /// `ADD` of a local archive unpacks it.
    pub(crate) unpack: bool,
    /// From a stage or an image: owners and xattrs come along.
    pub(crate) keep_owner: bool,
}

impl CopyPlan {
    /// Everything about the step but the files.
    pub(crate) fn key(&self, below: &[Layer]) -> Key {
        let mut key = Key::new("copy", below);
        key.add(&self.destination)
            .add(self.chown.as_deref().unwrap_or("-"))
            .add(format!("{:?}", self.chmod))
            .add(format!(
                "{} {} {}",
                self.parents, self.unpack, self.keep_owner
            ));
        for heredoc in &self.heredocs {
            key.add("heredoc").add(&heredoc.name).add(&heredoc.content);
        }
        key
    }

    /// Adds the selected files, by content.
    pub(crate) fn add_files(
        &self,
        key: &mut Key,
        root: &Root,
        selection: &Selection,
        mut known: Option<&mut StatCache>,
    ) -> std::io::Result<()> {
        if let Some(known) = &mut known {
            let files = selection.items.iter();
            let files = files.filter(|item| item.kind == ItemKind::File);
            let files = files.map(|item| (item.source.as_slice(), &item.stat));
            known.read_ahead(files, |source| file_digest(root, source));
        }
        for item in &selection.items {
            key.add(&item.target)
                .add(format!("{:?} {:o}", item.root, item.stat.st_mode));
            if self.keep_owner {
                key.add(format!("{}:{}", item.stat.st_uid, item.stat.st_gid));
            }
            match &item.kind {
                ItemKind::Directory => {}
                ItemKind::Symlink(target) => drop(key.add(target)),
                ItemKind::Special => drop(key.add(item.stat.st_rdev.to_le_bytes())),
                ItemKind::File => {
                    let read = || file_digest(root, &item.source);
                    let digest = match &mut known {
                        Some(known) => known.digest(&item.source, &item.stat, read)?,
                        None => read()?,
                    };
                    key.add(digest.as_str());
                }
            }
        }
        Ok(())
    }
}

fn file_digest(root: &Root, path: &[u8]) -> std::io::Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    std::io::copy(&mut select::open_file(root, path)?, &mut hasher)?;
    Ok(Digest::from_hasher(hasher))
}
