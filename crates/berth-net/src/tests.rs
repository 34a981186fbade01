//! Tests over real namespaces: a [`world`](world::World) stands for the host and the internet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails should fail the test at its line"
)]

mod datagrams;
mod ingress;
mod names;
mod pass_on;
mod pools;
mod speed;
mod tcp;
mod tunnel;
mod world;
