//! The build context: the user's directory without what `.dockerignore` excludes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use berth_image::Root;
use rustix::fs::{Mode, OFlags};

use crate::error::BuildError;

pub(crate) mod ignore;

use ignore::Ignore;

/// Largest Dockerfile or `.dockerignore` that is read.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Reads a Dockerfile or `.dockerignore`. Of one in the context, no link leads out of the context;
/// one beside it is the user's own choice. Nothing but regular files is read.
pub(crate) fn read_document(path: &Path, context: &Path) -> std::io::Result<String> {
    let inside = || {
        let directory = fs_err::canonicalize(path.parent()?).ok()?;
        let context = fs_err::canonicalize(context).ok()?;
        let below = directory.strip_prefix(&context).ok()?;
        Some((context, below.join(path.file_name()?)))
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match inside() {
        Some((context, name)) => Root::open(&context)?
            .open_any(name.as_os_str().as_encoded_bytes(), flags)?
            .ok_or(std::io::ErrorKind::NotFound)?,
        None => rustix::fs::open(path, flags, Mode::empty())?,
    };
    let file = std::fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is larger than 16 MiB",
        ));
    }
    // What is not UTF-8 is refused where it matters, and not in comments.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The context of one build.
#[derive(Debug)]
pub(crate) struct Context {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) ignore: Ignore,
}

impl Context {
    /// Opens the context; `.dockerignore` is `<Dockerfile>.dockerignore` beside the Dockerfile, or the
    /// one at the context's root.
    pub(crate) fn open(path: &Path, dockerfile: &Path) -> Result<Self, BuildError> {
        let canonical = fs_err::canonicalize(path).map_err(io("use the build context", path))?;
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let mut ignore = Ignore::default();
        for file in [PathBuf::from(own), canonical.join(".dockerignore")] {
            match read_document(&file, &canonical) {
                Ok(text) => {
                    ignore = Ignore::parse(&text).map_err(|problem| problem.in_file(&file))?;
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io("read", &file)(error)),
            }
        }
        Ok(Self {
            path: canonical,
            ignore,
        })
    }
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io {
        action,
        path,
        source,
    }
}
