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
mod esbuild;
mod supervise;
mod toolchain;

pub use bundle::{Bundle, BundleError, Bundler, Module, ModuleKind};
pub use compat::max_compatibility_date;
pub use compose::{
    ClassImages, ComposeError, ComposeOptions, ContainerOptions, Listen, compose, unique_key,
};
pub use esbuild::SessionError;
pub use supervise::{LogLevel, Upstream, Workerd, WorkerdError, WorkerdEvent, WorkerdOptions};
pub use toolchain::{Toolchain, ToolchainError, ToolchainEvent};

/// The newest compatibility date that the pinned workerd accepts: the day of its release, which is
/// part of its version (`1.20261117.1`).
pub const MAX_COMPATIBILITY_DATE: &str = "2026-11-17";

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_compatibility_date_is_the_pinned_release_s() {
        let lock = include_str!("../../../tools/package-lock.json");
        let lock: serde_json::Value = serde_json::from_str(lock).unwrap();
        let version = lock["packages"]["node_modules/workerd"]["version"]
            .as_str()
            .unwrap();
        let date = super::MAX_COMPATIBILITY_DATE.replace('-', "");
        assert_eq!(version.split('.').nth(1), Some(date.as_str()));
    }
}
