//! JSON files of the data directory and of the user: read whole, replaced whole, and errors that name
//! the file and the field.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("`{}` is not JSON", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field has no meaning.
    #[error("`{}`: `{field}` {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, from the top.
        field: String,
        /// What is wrong with it, as the end of a sentence about it.
        problem: String,
    },
}

impl FileError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn field(path: &Path, field: &str, problem: impl Into<String>) -> Self {
        Self::Field {
            path: path.to_owned(),
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// The bytes of a file; `None`: there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::io("read", path)(source)),
    }
}

/// The document that these bytes of a file are.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FileError> {
    serde_json::from_slice(bytes).map_err(|source| FileError::Syntax {
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file as a whole; only its owner may read it. Its directory is made if it is missing.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let directory = private_directory_of(path)?;
    let write = || -> io::Result<()> {
        // Temporary files are their owner's only.
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(FileError::io("write", path))
}

/// The directory of a file, which is made for its owner only if it is missing.
pub(crate) fn private_directory_of(path: &Path) -> Result<&Path, FileError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(FileError::io("make", directory))?;
    Ok(directory)
}
