//! Bundles a Worker, writes workerd's configuration, supervises the process.
//!
//! The way of a Worker: [`Toolchain::ensure`] brings workerd and esbuild, a [`Bundler`] turns the
//! project's source into [`Module`]s on disk, [`compose`] writes the configuration that embeds them,
//! [`Workerd::start`] runs it and [`Workerd::replace`] swaps it for the next one.
#![forbid(unsafe_code)]

mod bundle;
mod capnp;
mod compat;
mod compose;
mod consumer;
mod esbuild;
mod plane;
mod supervise;
mod toolchain;

pub use bundle::{Bundle, BundleError, Bundler, Module, ModuleKind};
pub use compat::max_compatibility_date;
pub use compose::workflow_class;
pub use compose::{
    ClassImages, ComposeError, ComposeOptions, ContainerOptions, Entrypoint, Listen,
    RESOURCE_HEADER, ServerSide, TraceOptions, compose, keeps_state, unique_key,
};
pub use consumer::{CONSUMED_HEADER, NO_TAIL_HANDLER, TAIL_ENTRYPOINT, consume_tails};
pub use esbuild::SessionError;
pub use plane::{ConsumerPlan, PlaneOptions, QueuePlan, compose_plane};
pub use supervise::{
    ConfigFile, LogLevel, TraceSwitch, Traces, Upstream, Workerd, WorkerdError, WorkerdEvent,
    WorkerdOptions, remove_sockets,
};
pub use toolchain::{Toolchain, ToolchainError, ToolchainEvent};
