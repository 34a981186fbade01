//! What Workers, containers and the server say and what happens to them, on one timeline.
//!
//! | module | its job |
//! |---|---|
//! | [`Entry`] | one line or event |
//! | [`Logs`] | the handle: write, ask, follow; its thread owns the database |
//! | `store` | the database: SQLite, bounded by age and size |
//! | [`Query`] | which entries |
//! | [`Trace`] | what workerd tells of one invocation |
//! | `link` | which lines an invocation wrote |
//! | [`Tails`] | who wants to see invocations as they end, and which |
//! | [`export`] | entries on their way out: to a file, over HTTP, into a bucket |
//!
//! Invariants: writing never waits for the disk; what does not fit in the queue is lost, and an entry says
//! how much. An entry that was committed survives a crash of the process. An entry's id is never used
//! twice; followers see entries in the order of their ids.
#![forbid(unsafe_code)]

mod entry;
mod error;
pub mod export;
mod link;
mod logs;
mod query;
mod store;
mod tails;
mod trace;

pub use entry::{Entry, Level, Source};
pub use error::LogError;
pub use logs::{Logs, LogsOptions};
pub use query::{Query, QueryError};
pub use tails::{Filters, Tail, Tails};
pub use trace::Trace;
