//! What the control plane must not lose: small records that change by compare-and-swap, and the key
//! that secrets in them are sealed with.
//!
//! A record is the unit of consistency: what must change together is in one. There are no
//! transactions over several, so that the same promises can be kept by a directory and by a bucket.
//! Here: SQLite in the data directory.
//!
//! Invariants: a change that was answered is on the disk; of two changes that were made from the same
//! revision one fails; a revision is never used twice, even for a record that was deleted and made
//! again.
#![forbid(unsafe_code)]

mod error;
mod records;
mod seal;
mod snapshot;

pub use error::StoreError;
pub use records::{Change, Record, Revision, Store};
pub use seal::{SealError, SealKey, Sealed};
pub use snapshot::snapshot;
