//! Making archives for tests, with any names and attributes, hostile ones included.

use crate::tar_read::Kind;
use crate::tar_write::{NewEntry, TarWriter};

/// An archive under construction.
pub(crate) struct Archive(TarWriter<Vec<u8>>);

/// One entry with everything that can be said about it.
#[derive(Clone, Debug)]
pub(crate) struct Spec<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: Kind,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) data: &'a [u8],
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Self {
            path: "",
            kind: Kind::File,
            link: "",
            mode: 0o644,
            owner: (0, 0),
            mtime: (1_000_000_000, 0),
            xattrs: Vec::new(),
            data: b"",
        }
    }
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self(TarWriter::new(Vec::new()))
    }

    pub(crate) fn add(mut self, spec: &Spec<'_>) -> Self {
        let path = spec.path.strip_suffix('/').unwrap_or(spec.path);
        let entry = NewEntry {
            path: path.as_bytes(),
            link: spec.link.as_bytes(),
            kind: spec.kind,
            mode: spec.mode,
            uid: spec.owner.0,
            gid: spec.owner.1,
            mtime: spec.mtime,
            xattrs: &spec.xattrs,
            size: spec.data.len() as u64,
        };
        self.0.append(&entry, spec.data).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.add(&Spec {
            path,
            kind: Kind::Directory,
            mode: 0o755,
            ..Spec::default()
        })
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.add(&Spec {
            path,
            data: data.as_bytes(),
            ..Spec::default()
        })
    }

    pub(crate) fn symlink(self, path: &str, link: &str) -> Self {
        self.add(&Spec {
            path,
            link,
            kind: Kind::Symlink,
            mode: 0o777,
            ..Spec::default()
        })
    }

    pub(crate) fn hardlink(self, path: &str, link: &str) -> Self {
        self.add(&Spec {
            path,
            link,
            kind: Kind::HardLink,
            ..Spec::default()
        })
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}
