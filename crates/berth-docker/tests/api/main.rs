//! The API over the real engine, driven with the requests that workerd sends. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "helpers of tests fail by panicking, and their modules are private to the test"
)]

mod exec;
mod lifecycle;
mod look;
mod pull;
mod sleep;
mod snapshots;
mod transport;
mod workerd;
mod world;
