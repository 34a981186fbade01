//! Why a record could not be read or changed.

use std::path::PathBuf;

use berth_error::Hint;

/// Why a record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has changed, made or deleted it.
    #[error("`{table}/{key}` has been changed meanwhile")]
    Conflict {
        /// The kind of record.
        table: &'static str,
        /// Which.
        key: String,
    },
    /// It is not what this program writes.
    #[error("the record `{table}/{key}` cannot be understood")]
    Malformed {
        /// The kind of record.
        table: &'static str,
        /// Which.
        key: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The database was made by a later version.
    #[error(
        "`{path}` was written by a newer version of berth (format {found}, this one knows {known})"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest format that is understood.
        known: i64,
    },
    /// A file or directory could not be made.
    #[error("could not make `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// SQLite says no.
    #[error("the database of records does not work")]
    Database(#[from] rusqlite::Error),
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => Some("try again".to_owned()),
            Self::Malformed { .. } => {
                Some("restore the data directory from a backup, or delete what it names".to_owned())
            }
            Self::Newer { .. } => Some("use that version, or another `--data-dir`".to_owned()),
            Self::Io { .. } | Self::Database(_) => None,
        }
    }
}
