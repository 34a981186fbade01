//! The store as its clients see it: processes, sockets, S3 clients that are not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod bucket;
mod clients;
mod kill;
mod protocol;
mod store;
mod support;
