//! The gateway between real clients and a server that answers as a Worker may.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

mod acme;
mod front;
mod gateway;
mod upstream;
