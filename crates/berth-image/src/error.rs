//! What can go wrong in the store, with the path or step it happened at.

use std::io;
use std::path::{Path, PathBuf};

use berth_error::Hint;

use crate::Digest;
use crate::unpack::UnpackError;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file system refused.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Not an image reference.
    #[error("`{reference}` is not an image reference: {reason}")]
    InvalidReference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a digest of a supported algorithm.
    #[error("`{0}` is not a sha256 digest")]
    InvalidDigest(String),
    /// More than one image id begins like this.
    #[error("the image id `{prefix}` is ambiguous: {count} images begin with it")]
    AmbiguousId {
        /// As given.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// A JSON document could not be read.
    #[error("could not parse {what}")]
    Json {
        /// Which document.
        what: String,
        /// The parser's message.
        source: serde_json::Error,
    },
    /// Content is not what its digest says.
    #[error("{what} has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Which content.
        what: String,
        /// The digest it is named by.
        expected: Digest,
        /// The digest of what is there.
        actual: Digest,
    },
    /// A blob that something refers to is not there.
    #[error("{what} {digest} is missing")]
    MissingBlob {
        /// What it should be.
        what: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// Not an archive we know, or one whose parts contradict each other.
    #[error("`{}` is not a usable image archive: {problem}", path.display())]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A document of an image is not what the OCI image specification says.
    #[error("bad image: {0}")]
    BadImage(String),
    /// An image for other machines only.
    #[error("the image is for {found}, this machine is {wanted}")]
    Platform {
        /// This machine, as `os/architecture`.
        wanted: String,
        /// What the image offers.
        found: String,
    },
    /// A layer could not be unpacked.
    #[error("could not unpack {layer}")]
    Unpack {
        /// Which layer.
        layer: String,
        /// Why.
        source: UnpackError,
    },
    /// The writable layer of a container cannot be expressed as an OCI layer.
    #[error("`{}` cannot become a layer: {reason}", path.display())]
    NotALayer {
        /// The file or directory in question.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl ImageError {
    /// For `map_err` on file system calls.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// The same for rustix's errors.
    pub(crate) fn errno(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io {
            action,
            path,
            source: errno.into(),
        }
    }
}

impl Hint for ImageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    Some("images hold files of many owners: run berth as root".to_owned())
                }
                io::ErrorKind::StorageFull => {
                    Some("free some space, or remove images that are not used".to_owned())
                }
                _ => None,
            },
            Self::InvalidReference { .. } => {
                Some("references look like `name:tag`, `host/name:tag` or `name@sha256:…`".to_owned())
            }
            Self::AmbiguousId { .. } => Some("give more digits, or the image's name".to_owned()),
            Self::MissingBlob { .. } | Self::DigestMismatch { .. } => {
                Some("the archive or the store is damaged: build, pull or import the image again".to_owned())
            }
            Self::BadArchive { .. } => Some(
                "an OCI layout (directory or tar), a `docker save` tar, or a root file system tar is expected"
                    .to_owned(),
            ),
            Self::Platform { wanted, .. } => {
                Some(format!("get the image for {wanted} (`--platform {wanted}`)"))
            }
            Self::Unpack { source, .. } => source.hint(),
            _ => None,
        }
    }
}
