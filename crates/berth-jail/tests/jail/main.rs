//! The jail as its users see it: real zygotes, real containers. Needs root and gcc.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, where a panic is the report"
)]

mod init;
mod isolation;
mod keep;
mod privileges;
mod process;
mod resources;
mod rootfs_prep;
mod sandbox;
mod session;
mod world;
