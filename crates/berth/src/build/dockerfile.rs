//! The Dockerfile: a file, or text from standard input that needs one.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use berth_error::{Report, ResultExt as _};

use crate::paths::absolute;

/// A Dockerfile that has a path.
pub(super) enum Dockerfile {
    /// The user's.
    File(PathBuf),
    /// Ours, removed when dropped.
    Text(tempfile::TempDir),
}

impl Dockerfile {
    /// Reads it if it comes from standard input. If it is the context's, which wrangler passes that
    /// way, it is taken from there, so that errors name a file that the user has.
    pub(super) fn read(file: Option<&Path>, context: &Path) -> Result<Self, Report> {
        let in_context = context.join("Dockerfile");
        match file {
            None => Ok(Self::File(in_context)),
            Some(file) if file == Path::new("-") => {
                let mut text = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut text)
                    .context("could not read the Dockerfile from standard input")?;
                if fs_err::read(&in_context).is_ok_and(|found| found == text) {
                    return Ok(Self::File(in_context));
                }
                let directory = tempfile::tempdir().context("could not keep the Dockerfile")?;
                let path = directory.path().join("Dockerfile");
                fs_err::write(path, text).context("could not keep the Dockerfile")?;
                Ok(Self::Text(directory))
            }
            Some(file) => Ok(Self::File(absolute(file)?)),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Text(directory) => directory.path().join("Dockerfile"),
        }
    }
}
