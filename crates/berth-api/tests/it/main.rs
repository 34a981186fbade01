//! The API as its clients speak to it: requests in, envelopes out.
#![allow(clippy::unwrap_used, reason = "test code")]

mod access;
mod containers;
mod logs;
mod openapi;
mod workers;
mod world;
