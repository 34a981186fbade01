//! Why something was not done, with the code that Workers see, the one that S3 clients see, and the
//! HTTP status that goes with both.
//!
//! Source of the codes: R2's documentation, "Error codes"; of the messages: R2 itself, as workers-sdk's
//! simulator has them.

use std::path::PathBuf;

use berth_error::Hint;

use crate::digest::Algorithm;
use crate::object::Object;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum R2Error {
    /// There is no such bucket.
    #[error("The specified bucket does not exist.")]
    NoSuchBucket(String),
    /// There is one already.
    #[error("The bucket you tried to create already exists, and you own it.")]
    BucketExists(String),
    /// It has objects, or uploads that are not finished.
    #[error("The bucket you tried to delete is not empty.")]
    BucketNotEmpty(String),
    /// No name for a bucket.
    #[error("The specified bucket name is not valid.")]
    BucketName(String),
    /// There is no such object.
    #[error("The specified key does not exist.")]
    NoSuchKey,
    /// No key for an object.
    #[error("The specified object name is not valid.")]
    Key,
    /// More bytes than an object, or a part, may have.
    #[error("Your proposed upload exceeds the maximum allowed object size.")]
    TooLarge,
    /// Fewer bytes than a part may have that is not the last.
    #[error("Your proposed upload is smaller than the minimum allowed object size.")]
    TooSmall,
    /// More than 8 KiB of custom metadata.
    #[error("Your metadata headers exceed the maximum allowed metadata size.")]
    MetadataTooLarge,
    /// There is no such upload, or it has been finished.
    #[error("The specified multipart upload does not exist.")]
    NoSuchUpload,
    /// A part that was not uploaded, or has been replaced.
    #[error("One or more of the specified parts could not be found.")]
    InvalidPart,
    /// Parts are not in ascending order.
    #[error("The list of parts was not in ascending order.")]
    PartOrder,
    /// Parts that make no object.
    #[error("There was a problem with the multipart upload.")]
    BadUpload,
    /// The object is not as the caller wants it; the one there is, if it is one.
    #[error("At least one of the pre-conditions you specified did not hold.")]
    Precondition(Option<Box<Object>>),
    /// No bytes in it.
    #[error("The requested range is not satisfiable")]
    Range {
        /// Bytes of the object.
        size: u64,
    },
    /// The bytes are not those that the caller means.
    #[error(
        "The {algorithm} checksum you specified did not match what we received.\nYou provided a {algorithm} checksum with value: {given}\nActual {algorithm} was: {found}"
    )]
    Digest {
        /// Of the checksum.
        algorithm: Algorithm,
        /// In hexadecimal.
        given: String,
        /// In hexadecimal.
        found: String,
    },
    /// Not between 1 and 1,000.
    #[error("MaxKeys params must be positive integer <= 1000.")]
    MaxKeys,
    /// Something else that cannot be meant.
    #[error("{0}")]
    Argument(String),
    /// The body ended early.
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header")]
    Incomplete,
    /// The body cannot be read: its signature, its form, or its sender.
    #[error("The body of the request could not be read: {0}")]
    Body(String),
    /// The body is not what its sender signed or summed up.
    #[error("The body of the request is not what was said of it: {0}")]
    Unproven(String),
    /// Storage fails.
    #[error("We encountered an internal error. Please try again.")]
    Storage(#[source] Failure),
}

/// What storage fails of.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database.
    #[error("the index of buckets fails")]
    Index(#[from] rusqlite::Error),
    /// The database of a later version.
    #[error("`{path}` has format {found}; this version knows format {known}")]
    Newer {
        /// Its file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What is known here.
        known: i64,
    },
    /// A record cannot be understood.
    #[error("a record of the index of buckets cannot be understood")]
    Record(#[from] serde_json::Error),
    /// A file.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The bucket that bytes are kept in.
    #[error("the bucket fails")]
    Bucket(#[source] Box<object_store::Error>),
    /// Bytes of objects are at another place than they are to be.
    #[error("the bytes of R2's objects are in {was}, not in {wanted}")]
    Elsewhere {
        /// Where they are.
        was: String,
        /// Where they are to be.
        wanted: String,
    },
    /// A task of ours died.
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl Hint for R2Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchBucket(name) => {
                Some(format!("make it with `wrangler r2 bucket create {name}`"))
            }
            Self::BucketName(_) => Some(
                "3 to 63 characters: lower-case letters, digits and hyphens, none of these at the ends"
                    .to_owned(),
            ),
            Self::BucketNotEmpty(_) => {
                Some("delete its objects first, and abort uploads that are not finished".to_owned())
            }
            Self::Storage(Failure::Newer { .. }) => {
                Some("start the version of Berth that wrote it".to_owned())
            }
            Self::Storage(Failure::Elsewhere { .. }) => Some(
                "set `[r2]` as it was; only while there are no objects and no parts of any can it change"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl<T: Into<Failure>> From<T> for R2Error {
    fn from(failure: T) -> Self {
        Self::Storage(failure.into())
    }
}

impl R2Error {
    /// HTTP status, R2's own code, S3's code.
    fn codes(&self) -> (u16, u32, &'static str) {
        match self {
            Self::NoSuchBucket(_) => (404, 10006, "NoSuchBucket"),
            Self::BucketExists(_) => (409, 10004, "BucketAlreadyOwnedByYou"),
            Self::BucketNotEmpty(_) => (409, 10008, "BucketNotEmpty"),
            Self::BucketName(_) => (400, 10005, "InvalidBucketName"),
            Self::NoSuchKey => (404, 10007, "NoSuchKey"),
            Self::Key => (400, 10020, "InvalidObjectName"),
            Self::TooLarge => (400, 100_100, "EntityTooLarge"),
            Self::TooSmall => (400, 10011, "EntityTooSmall"),
            Self::MetadataTooLarge => (400, 10012, "MetadataTooLarge"),
            Self::NoSuchUpload => (404, 10024, "NoSuchUpload"),
            Self::InvalidPart => (400, 10025, "InvalidPart"),
            Self::PartOrder => (400, 10025, "InvalidPartOrder"),
            Self::BadUpload => (500, 10048, "BadUpload"),
            Self::Precondition(_) => (412, 10031, "PreconditionFailed"),
            Self::Range { .. } => (416, 10039, "InvalidRange"),
            Self::Digest { .. } | Self::Unproven(_) => (400, 10037, "BadDigest"),
            Self::MaxKeys => (400, 10022, "InvalidArgument"),
            Self::Argument(_) => (400, 10029, "InvalidArgument"),
            Self::Incomplete | Self::Body(_) => (400, 10013, "IncompleteBody"),
            Self::Storage(_) => (500, 10001, "InternalError"),
        }
    }

    /// HTTP status.
    pub fn status(&self) -> http::StatusCode {
        http::StatusCode::from_u16(self.codes().0)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// R2's own code, which Workers see behind the message.
    pub fn v4_code(&self) -> u32 {
        self.codes().1
    }

    /// S3's code.
    pub fn s3_code(&self) -> &'static str {
        self.codes().2
    }
}
