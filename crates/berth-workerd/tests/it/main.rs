//! The tools as they are installed, and what they make of projects: the real esbuild, the real workerd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

mod bindings;
mod bundle;
mod containers;
mod project;
mod supervise;
mod toolchain;
mod traces;
mod world;
