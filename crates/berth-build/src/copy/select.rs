//! Which files a `COPY` means.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use berth_image::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::CopyPlan;
use crate::context::ignore::Ignore;
use crate::error::{Problem, nearest};
use crate::glob::Glob;

/// Directories in directories that are copied.
const MAX_DEPTH: usize = 512;

/// Where files are taken from.
pub(crate) struct Sources<'a> {
    pub(crate) root: &'a Root,
    pub(crate) ignore: &'a Ignore,
    /// What it is, for messages: `the build context`, `stage `build``.
    pub(crate) name: String,
}

/// One file, directory, link or device to copy.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Path below the sources' root.
    pub(crate) source: Vec<u8>,
    /// Path below the destination; for a single file its own name.
    pub(crate) target: Vec<u8>,
    /// Named itself rather than found in a directory that was.
    pub(crate) root: bool,
    pub(crate) kind: ItemKind,
    pub(crate) stat: Stat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    /// Device or fifo.
    Special,
}

/// What was found, in a fixed order, directories before what is in them.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) items: Vec<Item>,
}

/// Why nothing could be selected.
#[derive(Debug)]
pub(crate) enum SelectError {
    Problem(Problem),
    Io(io::Error),
}

impl From<io::Error> for SelectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Problem> for SelectError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

type Result<T> = std::result::Result<T, SelectError>;

/// Opens a file for reading; anything else (also what became something else meanwhile) is an error.
pub(super) fn open_file(root: &Root, path: &[u8]) -> io::Result<std::fs::File> {
    let file = root
        .open_any(path, OFlags::RDONLY | OFlags::NONBLOCK)?
        .map(std::fs::File::from)
        .ok_or(io::ErrorKind::NotFound)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no longer a regular file",
        ))
    }
}

impl Sources<'_> {
    /// Finds everything the plan names.
    pub(crate) fn select(&self, plan: &CopyPlan) -> Result<Selection> {
        let mut walk = Walk {
            sources: self,
            exclude: Ignore::from_patterns(&plan.exclude)?,
            selection: Selection::default(),
        };
        let mut named = plan.heredocs.len();
        for source in &plan.sources {
            let found = self.expand(source)?;
            if found.is_empty() {
                return Err(self.not_found(source)?.into());
            }
            let mut any = false;
            for path in &found {
                any |= walk.named(path, plan.parents)?;
            }
            if !any {
                return Err(
                    Problem::new(format!("`{source}` is excluded from {}", self.name))
                        .hint("see `.dockerignore` and `--exclude`")
                        .into(),
                );
            }
            named += found.len();
        }
        if named > 1 && !plan.destination.ends_with('/') {
            return Err(Problem::new("several files cannot be copied to one name")
                .hint(format!(
                    "end the destination with `/`: `{}/`",
                    plan.destination
                ))
                .into());
        }
        Ok(walk.selection)
    }

    /// The paths that a source with wildcards means, sorted.
    fn expand(&self, source: &str) -> Result<Vec<Vec<u8>>> {
        // `..` stays inside the root, as for a process whose root it is.
        let mut parts: Vec<&str> = Vec::new();
        for part in source.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
        for part in parts {
            let glob = Glob::path(part)
                .ok_or_else(|| Problem::new(format!("the pattern `{part}` is malformed")))?;
            let mut next = Vec::new();
            for path in paths {
                if glob.is_literal() {
                    let literal = part.replace('\\', "");
                    next.push(join(&path, literal.as_bytes()));
                    continue;
                }
                let Some(directory) = self.root.existing_parent(&path)? else {
                    continue;
                };
                for name in sorted_names(&directory)? {
                    if glob.matches(&String::from_utf8_lossy(&name)) {
                        next.push(join(&path, &name));
                    }
                }
            }
            paths = next;
        }
        let mut existing = Vec::new();
        for path in paths {
            if self.root.open_any(&path, OFlags::PATH)?.is_some() {
                existing.push(path);
            }
        }
        Ok(existing)
    }

    fn not_found(&self, source: &str) -> Result<Problem> {
        let problem = Problem::new(format!("`{source}` is not in {}", self.name));
        if source.split('/').any(|part| part == "..") {
            return Ok(problem.hint("only what is inside the build context can be copied"));
        }
        let trimmed = source.trim_matches('/');
        let (parent, base) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let Some(directory) = self.root.existing_parent(parent.as_bytes())? else {
            return Ok(problem);
        };
        let names: Vec<String> = sorted_names(&directory)?
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(match nearest(base, &names) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        })
    }
}

struct Walk<'a> {
    sources: &'a Sources<'a>,
    exclude: Ignore,
    selection: Selection,
}

impl Walk<'_> {
    /// Adds what a source names; links at its end are followed. Whether anything was added.
    fn named(&mut self, path: &[u8], parents: bool) -> Result<bool> {
        let before = self.selection.items.len();
        let Some(fd) = self.sources.root.open_any(path, OFlags::PATH)? else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let target = if parents { path.to_vec() } else { Vec::new() };
            let excluded = self.excludes(path);
            if !excluded {
                self.push(path, &target, true, ItemKind::Directory, stat);
            }
            if !excluded || self.may_keep_below() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                if let Some(directory) = self.sources.root.open_any(path, flags)? {
                    self.directory(directory.as_fd(), path, &target)?;
                }
            }
        } else if !self.excludes(path)
            && let Some(kind) = kind(&stat, || Ok(Vec::new()))?
        {
            let target = if parents { path } else { base };
            self.push(path, target, !parents, kind, stat);
        }
        Ok(self.selection.items.len() > before)
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8], target: &[u8]) -> Result<()> {
        check_depth(path)?;
        for name in sorted_names(directory)? {
            let source = join(path, &name);
            let target = join(target, &name);
            let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io::Error::from)?;
            let excluded = self.excludes(&source);
            let read_link =
                || Ok(rustix::fs::readlinkat(directory, &*name, Vec::new())?.into_bytes());
            let Some(kind) = kind(&stat, read_link)? else {
                continue;
            };
            let is_directory = kind == ItemKind::Directory;
            if !excluded {
                self.push(&source, &target, false, kind, stat);
            }
            if is_directory && (!excluded || self.may_keep_below()) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(directory, &*name, flags, Mode::empty())
                    .map_err(io::Error::from)?;
                self.directory(inner.as_fd(), &source, &target)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, source: &[u8], target: &[u8], root: bool, kind: ItemKind, stat: Stat) {
        self.selection.items.push(Item {
            source: source.to_vec(),
            target: target.to_vec(),
            root,
            kind,
            stat,
        });
    }

    fn excludes(&self, path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path);
        !path.is_empty() && (self.sources.ignore.excludes(&path) || self.exclude.excludes(&path))
    }

    fn may_keep_below(&self) -> bool {
        self.sources.ignore.may_keep_below() || self.exclude.may_keep_below()
    }
}

/// Every level of a tree costs a descriptor and a part of the stack.
fn check_depth(path: &[u8]) -> io::Result<()> {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!(
            "directories are nested more than {MAX_DEPTH} levels deep"
        )));
    }
    Ok(())
}

/// What something is; `None` for sockets, which mean nothing without their process.
fn kind(
    stat: &Stat,
    read_link: impl FnOnce() -> io::Result<Vec<u8>>,
) -> io::Result<Option<ItemKind>> {
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => ItemKind::File,
        FileType::Directory => ItemKind::Directory,
        FileType::Symlink => ItemKind::Symlink(read_link()?),
        FileType::Socket | FileType::Unknown => return Ok(None),
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => ItemKind::Special,
    }))
}

fn sorted_names(directory: impl std::os::fd::AsFd) -> io::Result<Vec<Vec<u8>>> {
    let again: OwnedFd = rustix::fs::openat(
        directory.as_fd(),
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(again)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match (parent, name) {
        ([], name) => name.to_vec(),
        (parent, []) => parent.to_vec(),
        _ => [parent, b"/".as_slice(), name].concat(),
    }
}
