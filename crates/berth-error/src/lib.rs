//! How Berth speaks of failure: hints are data beside the message, and one renderer prints both.
//!
//! Library errors are `thiserror` enums whose `Display` never repeats their source; they implement
//! [`Hint`] where there is something the reader can do. At the edge an error becomes a [`Report`],
//! which keeps the chain and collects the hints, and is printed by [`Report::render`].
#![forbid(unsafe_code)]

mod harmless;
mod render;
mod report;

pub use harmless::harmless;
pub use report::{Report, ResultExt, chain};

/// Advice that belongs to an error but not to its message.
pub trait Hint {
    /// What the reader can do about this error, in one or two sentences, or `None`.
    ///
    /// An error that wraps another one that has hints forwards to it.
    fn hint(&self) -> Option<String> {
        None
    }
}
