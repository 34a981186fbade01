//! The client of image registries: pull into the store, push out of it.
//!
//! Role: speak the OCI distribution specification v1.1 (and Docker's registry API v2, which it grew
//! out of) to any registry. [`Client`] is the door; what it does is in [`Client::pull`] and
//! [`Client::push`]. Where registries are and how they are reached is in [`Registries`]
//! (`registries.json`); who the user is to them is in [`Keyring`].
//!
//! Invariants:
//!
//! - A registry is not trusted. Every byte is checked against a digest, every body has a limit, every
//!   document is taken for one thing only.
//! - Credentials go to the host they belong to, over TLS, and to the token server that this host
//!   names; never to where a redirect leads.
//! - Only what is safe to repeat is repeated: reads, and writes whose state the registry was asked for.
//! - The store sees an image when all of it is there.
#![forbid(unsafe_code)]

mod auth;
mod blob;
mod challenge;
mod client;
mod config;
pub mod credentials;
mod document;
mod endpoint;
mod error;
mod errors_of_registry;
mod json_file;
mod manifest;
mod platform;
mod progress;
mod pull;
mod push;
mod retry;
mod transport;
mod upload;

pub use client::{Client, ClientOptions};
pub use config::{ConfigError, HostConfig, Registries};
pub use credentials::{Credential, CredentialError, Keyring};
pub use error::DistributionError;
pub use json_file::FileError;
pub use manifest::RegistryManifest;
pub use platform::{Platform, PlatformError};
pub use progress::{LayerState, Progress, ProgressSink};
pub use pull::{PullOptions, Pulled};
pub use push::{PushOptions, Pushed};
pub use retry::Backoff;
pub use transport::TransportError;
