//! Image archives: OCI layouts (directory or tar) and `docker save` tars.
//!
//! Archives are untrusted: a tar is read in place, by the names of its entries (one that is compressed
//! is unpacked like a layer first), files of a directory are opened inside of it only, and every
//! document and blob is checked against the digest by which it is named.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::store::MAX_DOCUMENT;
use crate::stream::{Compression, decompress, sniff};
use crate::unpack::{Root, UnpackLimits, unpack};
use crate::{Image, ImageError, ImageStore, Reference, UnpackError};

mod docker_save;
mod index;
mod layout;

use index::TarIndex;

/// Layers that are taken in at the same time: each has three threads.
const MOST_LAYERS: usize = 4;

/// The operating system of the images we run.
pub(crate) const OS: &str = "linux";

/// This machine's architecture, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl ImageStore {
    /// Whatever `path` is: an archive of images ([`ImageStore::import_archive`]) or a tar of a root
    /// file system ([`ImageStore::import_rootfs`], which needs a name).
    pub fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        if crate::is_archive(path)? {
            return self.import_archive(path, name);
        }
        let name = name.ok_or_else(|| ImageError::InvalidReference {
            reference: String::new(),
            reason: "a root file system brings no name, so one must be given",
        })?;
        let tar = File::open(path).map_err(ImageError::io("open", path))?;
        Ok(vec![self.import_rootfs(tar, name)?])
    }

    /// An OCI layout (directory or tar) or a `docker save` tar. Of images for several platforms, this
    /// machine's is taken. They get `name`, or the names the archive has for them.
    pub fn import_archive(
        &self,
        path: &Path,
        name: Option<&str>,
    ) -> Result<Vec<Image>, ImageError> {
        let name: Option<Reference> = name.map(str::parse).transpose()?;
        let source = Source::open(self, path)?;
        let found = if source.has("index.json")? {
            layout::import(self, &source)?
        } else if source.has("manifest.json")? {
            docker_save::import(self, &source)?
        } else {
            return Err(source.bad("it has neither `index.json` nor `manifest.json`"));
        };
        if found.is_empty() {
            return Err(source.bad("there is no image in it"));
        }
        if name.is_some() && found.len() > 1 {
            return Err(source.bad(&format!(
                "there are {} images in it, so they cannot get one name",
                found.len()
            )));
        }
        let mut images = Vec::new();
        for Found { image, names } in found {
            match &name {
                Some(name) => self.tag(&image, &name.canonical())?,
                None => {
                    for name in names {
                        self.tag(&image, &name)?;
                    }
                }
            }
            images.push(image);
        }
        Ok(images)
    }
}

/// An image that is in the store now, and what the archive calls it.
struct Found {
    image: Image,
    names: Vec<String>,
}

/// The files of an archive.
struct Source {
    path: PathBuf,
    files: Files,
}

enum Files {
    Directory {
        root: Root,
        /// Where a tar was unpacked to.
        _scratch: Option<tempfile::TempDir>,
    },
    Tar(TarIndex),
}

impl Source {
    fn open(store: &ImageStore, path: &Path) -> Result<Self, ImageError> {
        let files = if path.is_dir() {
            Files::directory(path, None)?
        } else if let Some(index) = read_in_place(path)? {
            Files::Tar(index)
        } else {
            let scratch = store.scratch("archive-")?;
            unpack_archive(path, scratch.path())?;
            let directory = scratch.path().to_owned();
            Files::directory(&directory, Some(scratch))?
        };
        Ok(Self {
            path: path.to_owned(),
            files,
        })
    }

    fn has(&self, name: &str) -> Result<bool, ImageError> {
        Ok(self.open_file(name)?.is_some())
    }

    fn open_file(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, ImageError> {
        let open = || -> io::Result<Option<Box<dyn Read + Send>>> {
            Ok(match &self.files {
                Files::Directory { root, .. } => match root.open_file(name)? {
                    Some(file) => Some(Box::new(file)),
                    None => None,
                },
                Files::Tar(index) => match index.open(name) {
                    Some(section) => Some(Box::new(section)),
                    None => None,
                },
            })
        };
        open().map_err(ImageError::io("open", &self.path.join(name)))
    }

    fn need(&self, name: &str) -> Result<Box<dyn Read + Send>, ImageError> {
        self.open_file(name)?
            .ok_or_else(|| self.bad(&format!("`{name}` is missing")))
    }

    /// A whole document.
    fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.need(name)?
            .take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", &self.path.join(name)))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.bad(&format!("`{name}` is too large")));
        }
        Ok(bytes)
    }

    fn bad(&self, problem: &str) -> ImageError {
        ImageError::BadArchive {
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }
}

impl Files {
    fn directory(path: &Path, scratch: Option<tempfile::TempDir>) -> Result<Self, ImageError> {
        Ok(Self::Directory {
            root: Root::open(path).map_err(ImageError::io("open", path))?,
            _scratch: scratch,
        })
    }
}

/// The files of a tar that is not compressed.
fn read_in_place(path: &Path) -> Result<Option<TarIndex>, ImageError> {
    let read = || -> io::Result<Option<TarIndex>> {
        let mut reader = BufReader::new(File::open(path)?);
        if !reader.get_ref().metadata()?.is_file() || sniff(&mut reader)? != Compression::None {
            return Ok(None);
        }
        let mut file = reader.into_inner();
        file.rewind()?;
        TarIndex::read(file, UnpackLimits::default())
    };
    read().map_err(|source| ImageError::Unpack {
        layer: format!("`{}`", path.display()),
        source: UnpackError::Archive(source),
    })
}

/// Does something with each item, several at a time; the results in the items' order, or the error of
/// the first item that has one.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    each: impl Fn(&T) -> Result<R, ImageError> + Sync,
) -> Result<Vec<R>, ImageError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.clamp(2, MOST_LAYERS).min(items.len());
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<R, ImageError>>>> =
        items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Relaxed) {
                    let place = next.fetch_add(1, Relaxed);
                    let Some(item) = items.get(place) else {
                        return;
                    };
                    let result = each(item);
                    failed.fetch_or(result.is_err(), Relaxed);
                    if let Ok(mut slot) = results[place].lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    // Items are begun in order, so what was left out comes after an error.
    let results = results
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    results.collect()
}

fn unpack_archive(path: &Path, target: &Path) -> Result<(), ImageError> {
    let file = File::open(path).map_err(ImageError::io("open", path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    sniff(&mut reader)
        .and_then(|compression| decompress(compression, reader))
        .map_err(UnpackError::Archive)
        .and_then(|tar| unpack(target, tar, UnpackLimits::default()))
        .map(drop)
        .map_err(|source| ImageError::Unpack {
            layer: format!("`{}`", path.display()),
            source,
        })
}

/// Refuses an image that this machine cannot run.
fn check_platform(os: &str, arch: &str) -> Result<(), ImageError> {
    if os == OS && arch == architecture() {
        Ok(())
    } else {
        Err(ImageError::Platform {
            wanted: format!("{OS}/{}", architecture()),
            found: format!("{os}/{arch}"),
        })
    }
}

#[cfg(test)]
mod tests;
