//! Builds as their callers see them, in real sandboxes. Needs root and gcc.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

mod build;
mod hostile;
mod language;
mod remotes;
mod reuse;
mod schedule;
mod surroundings;

#[path = "../support/https.rs"]
mod https;
#[path = "../support/repository.rs"]
mod repository;
#[path = "../support/sshd.rs"]
mod sshd;
#[path = "../support/world.rs"]
mod world;
