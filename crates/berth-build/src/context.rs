//! The build context: the user's directory without what `.dockerignore` excludes.

use std::path::{Path, PathBuf};

use crate::error::BuildError;

pub(crate) mod ignore;

use ignore::Ignore;

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
            match fs_err::read_to_string(&file) {
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
