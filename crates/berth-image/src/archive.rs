//! Image archives: OCI layouts (directory or tar) and `docker save` tars.
//!
//! Archives are untrusted: a tar is unpacked like a layer, files are opened inside the archive's root
//! only, and every document and blob is checked against the digest by which it is named.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::store::MAX_DOCUMENT;
use crate::stream::{decompress, sniff};
use crate::unpack::{Root, UnpackLimits, unpack};
use crate::{Image, ImageError, ImageStore, Reference, UnpackError};

mod docker_save;
mod layout;

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
    root: Root,
    /// Where a tar was unpacked to.
    _scratch: Option<tempfile::TempDir>,
}

impl Source {
    fn open(store: &ImageStore, path: &Path) -> Result<Self, ImageError> {
        let (directory, scratch) = if path.is_dir() {
            (path.to_owned(), None)
        } else {
            let scratch = store.scratch("archive-")?;
            unpack_archive(path, scratch.path())?;
            (scratch.path().to_owned(), Some(scratch))
        };
        Ok(Self {
            path: path.to_owned(),
            root: Root::open(&directory).map_err(ImageError::io("open", &directory))?,
            _scratch: scratch,
        })
    }

    fn has(&self, name: &str) -> Result<bool, ImageError> {
        Ok(self.open_file(name)?.is_some())
    }

    fn open_file(&self, name: &str) -> Result<Option<File>, ImageError> {
        self.root
            .open_file(name)
            .map_err(ImageError::io("open", &self.path.join(name)))
    }

    fn need(&self, name: &str) -> Result<File, ImageError> {
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
