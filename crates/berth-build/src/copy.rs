//! `COPY` and `ADD`: which files, where to, as whom; their digest for the cache; writing them.
//!
//! Sources and destination are resolved by descriptor inside their roots ([`berth_image::Root`]), so
//! neither a link in the context nor one in the image leads to the host's files.

mod file;
mod mode;
mod owner;
mod reuse;
mod select;
mod walk;
mod write;

use berth_image::{Digest, Layer, Root};

pub(crate) use mode::Chmod;
pub(crate) use owner::resolve as resolve_owner;
pub(crate) use reuse::Reuse;
pub(crate) use select::{Item, ItemKind, SelectError, Selection, Sources};
pub(crate) use write::Writer;

use crate::cache::Key;
use crate::cache::stat::StatCache;
use crate::dockerfile::Heredoc;
use crate::remote::Remote;

/// A `COPY` or `ADD` whose variables are expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyPlan {
    /// Paths and URLs, as written.
    pub(crate) sources: Vec<String>,
    /// Which of them are downloaded.
    pub(crate) remote: Vec<(usize, Remote)>,
    /// Their content expanded, tabs gone.
    pub(crate) heredocs: Vec<Heredoc>,
    /// Absolute; ends with `/` if it must be a directory.
    pub(crate) destination: String,
    /// The destination as written.
    pub(crate) written: String,
    /// As written after `--chown`.
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<Chmod>,
    /// As written after `--chmod`.
    pub(crate) chmod_text: Option<String>,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
    /// `--unpack`.
    pub(crate) unpack: Option<bool>,
    /// `ADD`.
    pub(crate) is_add: bool,
    /// From a stage or an image: owners come along.
    pub(crate) keep_owner: bool,
}

impl CopyPlan {
    /// The sources that are paths, with their places among all.
    pub(crate) fn local_sources(&self) -> impl Iterator<Item = (usize, &String)> {
        let is_remote = |index: usize| self.remote.iter().any(|(remote, _)| *remote == index);
        let all = self.sources.iter().enumerate();
        all.filter(move |(index, _)| !is_remote(*index))
    }

    /// Whether a local archive is unpacked.
    pub(crate) fn unpacks(&self) -> bool {
        self.unpack.unwrap_or(self.is_add)
    }

    /// Which step of which context this is, whatever is in the files and below it.
    pub(crate) fn place(&self, context: &std::path::Path) -> Digest {
        let mut key = self.key(&[]);
        key.add("place").add(context.as_os_str().as_encoded_bytes());
        for text in self.sources.iter().chain(&self.exclude) {
            key.add(text);
        }
        key.finish()
    }

    /// Everything about the step but the files.
    pub(crate) fn key(&self, below: &[Layer]) -> Key {
        let mut key = Key::new("copy", below);
        key.add(&self.destination)
            .add(self.chown.as_deref().unwrap_or("-"))
            .add(format!("{:?}", self.chmod))
            .add(format!(
                "{} {} {:?} {}",
                self.parents, self.is_add, self.unpack, self.keep_owner
            ));
        for heredoc in &self.heredocs {
            key.add("heredoc").add(&heredoc.name).add(&heredoc.content);
        }
        key
    }
}

/// Adds selected files to a key, by content.
pub(crate) fn add_files(
    key: &mut Key,
    root: &Root,
    selection: &Selection,
    with_owner: bool,
    mut known: Option<&mut StatCache>,
) -> std::io::Result<()> {
    if let Some(known) = &mut known {
        let items = selection.groups.iter().flat_map(|group| &group.items);
        let files = items.filter(|item| item.kind == ItemKind::File);
        let files = files.map(|item| (item.source.as_slice(), &item.stat));
        known.read_ahead(files, |source| file_digest(root, source));
    }
    for group in &selection.groups {
        key.add("source").add(&group.name);
        for item in &group.items {
            key.add(&item.target)
                .add(format!("{:o}", item.stat.st_mode));
            if with_owner {
                key.add(format!("{}:{}", item.stat.st_uid, item.stat.st_gid));
                add_xattrs(key, root, item)?;
            }
            match &item.kind {
                // Whether it has the source's time or its own.
                ItemKind::Directory if item.on_the_way => drop(key.add("on the way")),
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
    }
    Ok(())
}

/// Files of an image differ by their attributes, too.
fn add_xattrs(key: &mut Key, root: &Root, item: &Item) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    if !matches!(item.kind, ItemKind::File | ItemKind::Directory) {
        return Ok(());
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let Some(file) = root.open_any(&item.source, flags)? else {
        return Ok(());
    };
    for (name, value) in file::xattrs(&file)? {
        key.add("xattr").add(name.as_bytes()).add(value);
    }
    Ok(())
}

fn file_digest(root: &Root, path: &[u8]) -> std::io::Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    std::io::copy(&mut select::open_file(root, path)?, &mut hasher)?;
    Ok(Digest::from_hasher(hasher))
}
