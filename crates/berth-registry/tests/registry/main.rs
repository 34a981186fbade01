//! The registry as clients see it: a real process, driven by HTTP. The specification's conformance
//! suite covers the same ground from outside; what it does not look at is here too.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod auth;
mod bucket;
mod clients;
mod collect;
mod docker;
mod full;
mod hostile;
mod kill;
mod limits;
mod lists;
mod push;
mod slow;
mod support;
mod tls;
