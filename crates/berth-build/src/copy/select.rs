//! Which files a `COPY` means.
//!
//! Rules are BuildKit's: a source's own links are followed, those in a directory are copied; wildcards
//! match without following links; a directory means what is in it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use berth_image::Root;
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::CopyPlan;
use super::walk::Walk;
use crate::context::ignore::{Ignore, clean};
use crate::error::{Problem, nearest};
use crate::glob::{Glob, has_wildcards};

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
    /// Path below the destination; empty for what was named itself.
    pub(crate) target: Vec<u8>,
    pub(crate) kind: ItemKind,
    pub(crate) stat: Stat,
    /// A directory that comes along only because of what is in it.
    pub(crate) on_the_way: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    /// Device or fifo.
    Special,
}

/// What one source, or one match of its wildcards, means.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Which of the plan's sources it belongs to.
    pub(crate) index: usize,
    /// Its name, which a file keeps in a directory.
    pub(crate) name: Vec<u8>,
    /// Directories before what is in them.
    pub(crate) items: Vec<Item>,
}

/// What was found, in a fixed order.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) groups: Vec<Group>,
    /// Wildcards that match nothing, which is allowed.
    pub(crate) unmatched: Vec<String>,
}

impl Selection {
    /// What one source means.
    pub(crate) fn of_source(&self, index: usize) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| group.index == index)
    }
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

pub(super) type Result<T> = std::result::Result<T, SelectError>;

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
        let mut selection = Selection::default();
        for (index, source) in plan.local_sources() {
            let mut found = if plan.parents {
                self.with_parents(source, &plan.exclude)?
            } else {
                self.named(source, &plan.exclude)?
            };
            if found.is_empty() {
                selection.unmatched.push(source.clone());
            }
            for group in &mut found {
                group.index = index;
            }
            selection.groups.extend(found);
        }
        Ok(selection)
    }

    /// A path that is taken as it is, without wildcards; messages show it as `shown`.
    pub(crate) fn exactly(
        &self,
        path: &std::path::Path,
        shown: &str,
        exclude: &[String],
    ) -> Result<Selection> {
        let text = path.to_string_lossy();
        let exclude = Ignore::from_patterns(exclude)?;
        let path = relative(&text);
        match self.group(path.as_bytes(), None, &exclude)? {
            Some(group) => Ok(Selection {
                groups: vec![group],
                unmatched: Vec::new(),
            }),
            None => Err(Problem::new(format!("`{shown}` is not in {}", self.name)).into()),
        }
    }

    /// What a source means.
    fn named(&self, source: &str, exclude: &[String]) -> Result<Vec<Group>> {
        let path = relative(source);
        let exclude = Ignore::from_patterns(exclude)?;
        let mut groups = Vec::new();
        for (found, must_exist) in self.expand(&path, source)? {
            match self.group(&found, None, &exclude)? {
                Some(group) => groups.push(group),
                None if must_exist => return Err(self.not_found(source)?.into()),
                None => {}
            }
        }
        Ok(groups)
    }

    /// `COPY --parents`: the path below the root, or below what stands before `/./`, stays.
    fn with_parents(&self, source: &str, exclude: &[String]) -> Result<Vec<Group>> {
        let (pivot, pattern) = source.split_once("/./").unwrap_or(("", source));
        let (pivot, pattern) = (relative(pivot), relative(pattern));
        if has_wildcards(&pivot) {
            let problem = Problem::new(format!("`{source}` has wildcards before `/./`"));
            return Err(problem.hint("put them behind it").into());
        }
        let exclude = Ignore::from_patterns(exclude)?;
        let include = match pattern.as_str() {
            "" => Ignore::default(),
            pattern => Ignore::from_patterns(&[pattern.to_owned()])?,
        };
        let group = self.group(pivot.as_bytes(), Some(&include), &exclude)?;
        // The directory itself is always there.
        let nothing = |group: &Group| group.items.iter().all(|item| item.target.is_empty());
        let group = group.filter(|group| pattern.is_empty() || !nothing(group));
        if group.is_none() && !has_wildcards(&pattern) {
            return Err(self
                .not_found(&clean(&format!("{pivot}/{pattern}")))?
                .into());
        }
        Ok(group.into_iter().collect())
    }

    /// Everything that belongs to one path; links at its end are followed. `None` if there is nothing.
    fn group(
        &self,
        path: &[u8],
        include: Option<&Ignore>,
        exclude: &Ignore,
    ) -> Result<Option<Group>> {
        let Some(fd) = self.root.open_any(path, OFlags::PATH)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
        let real = resolved(self.root.as_fd(), fd.as_fd())?.unwrap_or_else(|| path.to_vec());
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mut walk = Walk::new(self.root, self.ignore, include, exclude);
        walk.named(&real, stat)?;
        let items = walk.items;
        Ok((!items.is_empty()).then(|| Group {
            index: 0,
            name: name.to_vec(),
            items,
        }))
    }

    /// The paths that a source means, sorted, and whether each must be there: wildcards may match
    /// nothing.
    fn expand(&self, path: &str, source: &str) -> Result<Vec<(Vec<u8>, bool)>> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some(first) = parts.iter().position(|part| has_wildcards(part)) else {
            return Ok(vec![(path.as_bytes().to_vec(), true)]);
        };
        let base = parts[..first].join("/");
        if self.root.existing_parent(base.as_bytes())?.is_none() {
            return Err(self.not_found(source)?.into());
        }
        let mut paths = vec![base.into_bytes()];
        for (index, part) in parts[first..].iter().enumerate() {
            // What is malformed matches nothing.
            let Some(glob) = Glob::new(part) else {
                return Ok(Vec::new());
            };
            let mut next = Vec::new();
            for path in paths {
                // Only the directory before the first wildcard may be reached by a link.
                let directory = match index {
                    0 => self.root.existing_parent(&path)?,
                    _ => self.directory_itself(&path)?,
                };
                let Some(directory) = directory else {
                    continue;
                };
                let names = sorted_names(&directory)?.into_iter();
                let names = names.filter(|name| glob.matches(&String::from_utf8_lossy(name)));
                next.extend(names.map(|name| join(&path, &name)));
            }
            paths = next;
        }
        Ok(paths.into_iter().map(|path| (path, false)).collect())
    }

    /// A directory, but not a link to one.
    fn directory_itself(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let (parent, base) = split(path);
        let Some(parent) = self.root.existing_parent(parent)? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, base, flags, Mode::empty()).ok())
    }

    fn not_found(&self, source: &str) -> Result<Problem> {
        let path = relative(source);
        if self.root.open_any(path.as_bytes(), OFlags::PATH)?.is_some() {
            let problem = Problem::new(format!("`{source}` is excluded from {}", self.name));
            return Ok(problem.hint("see `.dockerignore`"));
        }
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

/// A source's path below the root; `..` stays inside, as for a process whose root it is.
fn relative(source: &str) -> String {
    clean(&format!("/{source}")).trim_matches('/').to_owned()
}

/// The path of something that is open, below the root, without links. `None` if the kernel does not
/// say.
pub(super) fn resolved(root: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    use std::os::fd::AsRawFd as _;
    let path_of = |fd: i32| -> io::Result<Vec<u8>> {
        let link = rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new())?;
        Ok(link.into_bytes())
    };
    let above = path_of(root.as_raw_fd())?;
    let path = path_of(fd.as_raw_fd())?;
    let below = if above == b"/" {
        path.strip_prefix(b"/")
    } else {
        path.strip_prefix(above.as_slice()).and_then(|rest| {
            if rest.is_empty() {
                Some(rest)
            } else {
                rest.strip_prefix(b"/")
            }
        })
    };
    Ok(below.map(<[u8]>::to_vec))
}

/// Every level of a tree costs a descriptor and a part of the stack.
pub(super) fn check_depth(path: &[u8]) -> io::Result<()> {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!(
            "directories are nested more than {MAX_DEPTH} levels deep"
        )));
    }
    Ok(())
}

/// What something is; `None` for sockets, which mean nothing without their process.
pub(super) fn kind(
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

pub(super) fn sorted_names(directory: impl std::os::fd::AsFd) -> io::Result<Vec<Vec<u8>>> {
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

/// Directory and last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
