//! An OCI registry: the server side of the distribution specification 1.1, as a service one can mount.
//!
//! | module | its job |
//! |---|---|
//! | [`storage`] | records, blobs and uploads: in a directory or in a bucket |
//! | `layout` | what the keys of the storage mean |
//! | `registry` | storage, authority, limits and uploads of one registry |
//! | `http` | the endpoints |
//! | [`auth`] | who may do what: identities, tokens, signed credentials |
//! | `manifest` | what must be understood of manifests |
//! | [`limits`] | how much may be stored |
//! | `collect` | garbage, collected while pushes run |
//! | [`server`] | a listener for a registry of its own: TLS, slow clients |
//!
//! Invariants: what a tag names is whole; what a manifest needs is there for as long as the manifest
//! is; a name out of a request is never a path before it matched its grammar. docs/images.md tells the
//! rules to users.
#![forbid(unsafe_code)]

pub mod auth;
mod collect;
mod crash;
pub mod digest;
pub mod error;
mod http;
mod layout;
pub mod limits;
pub mod manifest;
pub mod names;
mod registry;
pub mod server;
mod sessions;
pub mod storage;

pub use collect::{CollectOptions, Collected};
pub use crash::{BUCKET_CRASH_POINTS, CRASH_POINTS};
pub use limits::Limits;
pub use registry::{Registry, RegistryOptions};
