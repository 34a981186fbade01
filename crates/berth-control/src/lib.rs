//! The control plane: what is deployed, as records, and the rules by which they change.
//!
//! | module | its job |
//! |---|---|
//! | [`account`] | whose machine this is |
//! | [`token`] | who may do what |
//! | [`worker`] | a Worker: versions, deployments, Durable Object classes; the record |
//! | [`migrations`] | Durable Object migrations, as a pure function |
//! | [`pending`] | a version that goes live together with its containers |
//! | [`containers`] | container applications: image and size of a class's containers |
//! | [`rollout`] | how a change of those reaches the instances, as a state machine |
//! | [`tail_consumers`] | Workers that are told what another one does |
//! | [`upload`] | what wrangler uploads, checked |
//! | [`resources`] | what outlives a Worker: KV namespaces, D1 databases, queues, Workflows, secrets stores |
//! | [`content`] | modules and assets, by digest |
//! | [`assets`] | static assets: manifests, uploads |
//! | [`control`] | every change, each whole or not at all |
//!
//! Nothing here serves HTTP or runs a process: `berth-api` asks, and whoever runs the Workers is woken
//! by [`Control::changes`].
//!
//! Invariants: a version never changes; what a deployment names exists; secrets are in records only
//! sealed; of two changes to one Worker at once both happen, one after the other.
#![forbid(unsafe_code)]

pub mod account;
pub mod assets;
pub mod clock;
pub mod containers;
pub mod content;
mod control;
mod error;
pub mod migrations;
pub mod pending;
pub mod rollout;
pub mod tail_consumers;
pub mod token;
pub mod upload;
pub mod worker;

pub use berth_store::snapshot;
pub use control::{AssetsSession, Control, DomainChanges, NewDomain, NewVersion, R2Key, resources};
pub use error::ControlError;
