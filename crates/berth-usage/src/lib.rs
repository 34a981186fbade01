//! What Workers and their containers have used: added up by the hour, asked for, and priced.
//!
//! Owner of the counting is the server; here it is only kept. Invariants: what was added once is never
//! changed or lost but by [`Ledger::forget_before`]; amounts are whole numbers, so that sums are exact.
#![forbid(unsafe_code)]

mod amounts;
mod error;
mod ledger;
mod prices;

pub use amounts::Amounts;
pub use error::UsageError;
pub use ledger::{HOUR_MS, Ledger, Subject, Used};
pub use prices::{Cost, cost};
