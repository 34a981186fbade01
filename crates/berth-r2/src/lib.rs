//! Object storage: what R2 is to Workers and to S3 clients, kept in a directory.
//!
//! [`R2`] is the store: buckets, objects, uploads in parts. Two faces are before it, and neither knows
//! the other: [`binding`] is what workerd's `r2Bucket` bindings speak, [`s3`] is what S3 clients speak.
//! What is known about objects is in SQLite; their bytes are [`Blobs`]: files, or objects of an
//! S3-compatible bucket.
//!
//! Invariants: an object is seen whole, old or new, wherever a process ends; a write that was answered
//! is on the disk; no object is ever in memory as a whole.
//!
//! | module | its job |
//! |---|---|
//! | `object` | what is known about an object |
//! | `condition`, `range`, `list`, `digest`, `name` | rules, without any storage |
//! | `index` | buckets, objects, uploads in SQLite |
//! | `blobs` | bytes, and who reads them still |
//! | `store` | [`R2`]: index and blobs together |
//! | `binding` | the protocol of workerd |
//! | `s3` | the protocol of S3, with its signatures |
#![forbid(unsafe_code)]

pub mod binding;
mod blobs;
mod condition;
mod crash;
mod digest;
mod error;
mod index;
mod list;
mod name;
mod object;
mod place;
mod range;
mod rules;
pub mod s3;
mod store;

pub use blobs::{BlobError, BlobStream, BlobWriter, Blobs, Bucket, BucketOptions, Directory};
pub use condition::{Conditions, EtagMatch};
pub use crash::CRASH_POINTS;
pub use digest::{Algorithm, Sums};
pub use error::{Failure, R2Error};
pub use index::BucketInfo;
pub use list::{ListOptions, Listing, Position};
pub use name::{is_bucket_name, is_key};
pub use object::{HttpMetadata, Metadata, Object, Part, StorageClass, Upload};
pub use place::Place;
pub use range::{Range, Resolved};
pub use rules::{Allowed, ClassTransition, CorsRule, LifecycleRule, Transition, When, Which};
pub use store::{Body, BodyError, Found, NewUpload, Put, R2};
