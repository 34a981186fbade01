//! The client of a Berth server: the HTTP API that wrangler speaks, called by `berth` itself.
//!
//! | module | its job |
//! |---|---|
//! | `server` | which server: flags, environment, or the one of this machine |
//! | `client` | calls and what comes back |
//! | `websocket` | the same for WebSockets |
//! | `tls` | whom we trust |
//! | `error` | one error for every way in which a call fails, with what to do |
//!
//! Nothing here knows what a Worker is. Invariant: a token is in no error, no log and no `Debug`.
#![forbid(unsafe_code)]

mod client;
mod error;
mod server;
mod tls;
mod websocket;

pub use client::{Body, Call, Client, segment};
pub use error::{ClientError, Refusal};
pub use reqwest::Response;
pub use reqwest::multipart::{Form, Part};
pub use server::{Choice, LocalServer, Server};
pub use websocket::WebSocket;
