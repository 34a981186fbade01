//! Why usage cannot be kept or read.

use std::path::PathBuf;

use berth_error::Hint;

/// Why usage cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// SQLite.
    #[error("the database of usage failed")]
    Database(#[from] rusqlite::Error),
    /// Its file.
    #[error("could not open the database of usage `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Made by a version that knows more.
    #[error("`{path}` has format {found}; this version of Berth knows {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl Hint for UsageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Newer { .. } => {
                Some("use the version of Berth that wrote it, or a newer one".to_owned())
            }
            _ => None,
        }
    }
}
