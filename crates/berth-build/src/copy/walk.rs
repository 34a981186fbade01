//! Walking a source's directory, under three sets of patterns: what the context ignores (by the path in
//! it), what `--parents` includes and what `--exclude` leaves out (by the path below the source).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use berth_image::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::select::{Item, ItemKind, Result, check_depth, join, kind, sorted_names};
use crate::context::ignore::{Above, Ignore};

pub(super) struct Walk<'a> {
    root: &'a Root,
    ignore: &'a Ignore,
    include: Option<&'a Ignore>,
    exclude: &'a Ignore,
    pub(super) items: Vec<Item>,
    /// Directories on the way that no pattern asked for: they come along when something in them does.
    waiting: Vec<Item>,
}

/// What the patterns said so far.
#[derive(Clone, Default)]
struct Said {
    ignore: Above,
    include: Above,
    exclude: Above,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: &'a Root,
        ignore: &'a Ignore,
        include: Option<&'a Ignore>,
        exclude: &'a Ignore,
    ) -> Self {
        Self {
            root,
            ignore,
            include,
            exclude,
            items: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Adds what is at `path`, below the root and free of links. `--exclude` is about what is in a
    /// source, not about the source.
    pub(super) fn named(&mut self, path: &[u8], stat: Stat) -> Result<()> {
        let text = String::from_utf8_lossy(path);
        let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
        let mut said = Said::default();
        let mut ignored = false;
        if !path.is_empty() {
            let above = self.ignore.above(parent);
            (ignored, said.ignore) = self.ignore.excludes_below(&text, &above);
        }
        let Some(kind) = kind(&stat, || Ok(Vec::new()))? else {
            return Ok(());
        };
        let is_directory = kind == ItemKind::Directory;
        let item = Item {
            source: path.to_vec(),
            target: Vec::new(),
            kind,
            stat,
            // The root of a context is nobody's directory: it has no time worth keeping.
            on_the_way: path.is_empty(),
        };
        if !is_directory {
            if !ignored && !self.ignore.keeps_back(&text) {
                self.items.push(item);
            }
            return Ok(());
        }
        if ignored && !self.ignore.may_keep_below(&text) {
            return Ok(());
        }
        self.add(item, !ignored);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if let Some(directory) = self.root.open_any(path, flags)? {
            self.directory(directory.as_fd(), path, b"", &said)?;
        }
        self.waiting.clear();
        Ok(())
    }

    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        below: &[u8],
        above: &Said,
    ) -> Result<()> {
        check_depth(path)?;
        for name in sorted_names(directory)? {
            let source = join(path, &name);
            let target = join(below, &name);
            let (wanted, said) = self.wanted(&source, &target, above);
            let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io::Error::from)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let walked = is_directory && self.may_want_below(&source, &target, &said);
            if !(wanted || walked) {
                continue;
            }
            if !is_directory && self.ignore.keeps_back(&String::from_utf8_lossy(&source)) {
                continue;
            }
            let read_link =
                || Ok(rustix::fs::readlinkat(directory, &*name, Vec::new())?.into_bytes());
            let Some(kind) = kind(&stat, read_link)? else {
                continue;
            };
            let waiting = self.waiting.len();
            self.add(
                Item {
                    source: source.clone(),
                    target: target.clone(),
                    kind,
                    stat,
                    // What only the context hides would be a directory like others.
                    on_the_way: said.1.not_included || said.1.excluded,
                },
                wanted,
            );
            if is_directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(directory, &*name, flags, Mode::empty())
                    .map_err(io::Error::from)?;
                self.directory(inner.as_fd(), &source, &target, &said.0)?;
                self.waiting.truncate(waiting);
            }
        }
        Ok(())
    }

    fn add(&mut self, item: Item, wanted: bool) {
        if wanted {
            self.items.append(&mut self.waiting);
            self.items.push(item);
        } else {
            self.waiting.push(item);
        }
    }

    /// Whether all patterns let a path through, and what they said, and which of them did not.
    fn wanted(&self, source: &[u8], target: &[u8], above: &Said) -> (bool, (Said, Refused)) {
        let (source, target) = (
            String::from_utf8_lossy(source),
            String::from_utf8_lossy(target),
        );
        let mut said = Said::default();
        let mut refused = Refused::default();
        (refused.ignored, said.ignore) = self.ignore.excludes_below(&source, &above.ignore);
        if let Some(include) = self.include.filter(|include| !include.is_empty()) {
            let (included, include) = include.excludes_below(&target, &above.include);
            refused.not_included = !included;
            said.include = include;
        }
        (refused.excluded, said.exclude) = self.exclude.excludes_below(&target, &above.exclude);
        let wanted = !(refused.ignored || refused.not_included || refused.excluded);
        (wanted, (said, refused))
    }

    fn may_want_below(&self, source: &[u8], target: &[u8], said: &(Said, Refused)) -> bool {
        let refused = &said.1;
        let (source, target) = (
            String::from_utf8_lossy(source),
            String::from_utf8_lossy(target),
        );
        let include = self.include.unwrap_or(self.exclude);
        (!refused.ignored || self.ignore.may_keep_below(&source))
            && (!refused.not_included || include.may_match_below(&target))
            && (!refused.excluded || self.exclude.has_exceptions())
    }
}

#[derive(Clone, Copy, Default)]
struct Refused {
    ignored: bool,
    not_included: bool,
    excluded: bool,
}
