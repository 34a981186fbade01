//! The test world: real projects, real `berth dev` sessions, real clients, and a check that nothing
//! is left behind.
//!
//! Role: what every end-to-end test needs. A test opens the [`World`], takes a [`Project`] (a copy
//! of an example or files of its own), starts a [`DevSession`] on it, drives it over HTTP and
//! WebSockets as a client would, and stops it. Whatever happens to the test, the session is ended
//! and the machine is checked for processes, mounts, cgroups, sockets and directories of it.
//!
//! Invariants:
//!
//! - Nothing is skipped: a missing capability of the machine is a failure that says what is missing.
//! - Tests share one data directory and one cache below the target directory, never the ones of
//!   the machine; base images are made there once, under a lock.
//! - Waiting is waiting for an event of the session, with a deadline; nothing polls.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "every function here runs inside a test, where a panic is the report"
)]

mod app;
mod authority;
mod capability;
mod client;
mod disk;
mod docker_registry;
mod engine;
mod event;
mod leak;
mod moto;
mod process;
mod project;
mod schemathesis;
mod screen;
mod server;
mod session;
mod systemd;
mod terminal;
mod tls;
mod tree;
mod websocket;
mod world;
mod wrangler;

pub use app::{Program, compile_static};
pub use authority::{Authority, free_port};
pub use client::{Body, Client, Reply, channel_body};
pub use disk::{Disk, Remains, reboot_store};
pub use docker_registry::DockerRegistry;
pub use engine::{EngineSession, Wrangler};
pub use event::{Event, Events};
pub use leak::Footprint;
pub use moto::Moto;
pub use project::Project;
pub use screen::{Ended, Frame, Screen};
pub use server::{RunningWrangler, ServerSession};
pub use session::{DevSession, Failed, Killed, SessionBuilder};
pub use systemd::Systemd;
pub use terminal::Terminal;
pub use tls::{TlsStream, handshake, try_handshake};
pub use tree::run;
pub use websocket::WebSocket;
pub use world::World;
pub use wrangler::Release;

use std::time::Duration;

/// The longest a test waits for one event of a running session.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest a test waits for a session to become ready: images may have to be built.
pub const START_PATIENCE: Duration = Duration::from_secs(240);
