//! `berth-config` through its front door: files in, a project or every mistake out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers may panic"
)]

mod bindings;
mod classes;
mod containers;
mod environments;
mod fixtures;
mod fuzz;
mod own;
mod places;
mod secrets;
mod server;
mod support;
mod worker;
