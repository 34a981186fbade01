//! Why a layer could not be unpacked.

use std::io;

use berth_error::Hint;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is damaged, cut off or not a tar.
    #[error("the archive cannot be read")]
    Archive(#[source] io::Error),
    /// One entry could not be written.
    #[error("entry `{entry}` cannot be unpacked")]
    Entry {
        /// Its name.
        entry: String,
        /// Why.
        source: io::Error,
    },
    /// Too many entries.
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// Too much data.
    #[error("the archive unpacks to more than {0} bytes")]
    TooManyBytes(u64),
}

impl Hint for UnpackError {
    fn hint(&self) -> Option<String> {
        let source = match self {
            Self::Archive(source) | Self::Entry { source, .. } => source,
            Self::TooManyEntries(_) | Self::TooManyBytes(_) => {
                return Some("this looks like an archive made to fill the disk".to_owned());
            }
        };
        match source.kind() {
            io::ErrorKind::StorageFull => Some("free some space on the disk".to_owned()),
            io::ErrorKind::PermissionDenied => {
                Some("images hold files of many owners: run berth as root".to_owned())
            }
            io::ErrorKind::InvalidData => {
                Some("the archive is damaged or no tar: make or fetch it again".to_owned())
            }
            _ => None,
        }
    }
}
