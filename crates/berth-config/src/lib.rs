//! wrangler configuration (`wrangler.jsonc`, `.json`, `.toml`) → one validated [`Project`].
//!
//! [`load()`] finds and reads the file, checks everything that can be checked without running the
//! Worker, and returns either a [`Project`] or every mistake at once, each a [`Diagnostic`] with
//! file, line, the line's text and a hint.
//!
//! What is Berth's alone and so not in wrangler's file, which wrangler must go on to accept, is in
//! `berth.jsonc` beside it. [`ServerConfig`] is `berth.toml`, the settings of a server.
#![forbid(unsafe_code)]

mod decode;
mod diagnostic;
mod dotenv;
mod load;
mod own;
mod parse;
mod project;
mod route;
mod secrets;
mod server;
mod source;
mod spans;
mod value;

pub use decode::{
    InstanceTypes, MAX_DISK_MB, MAX_MEMORY_MIB, MAX_VCPU, MIN_VCPU, check_cron, instance_type,
};
pub use diagnostic::{ConfigErrors, Diagnostic, Location, Severity};
pub use load::{LoadOptions, Loaded, Purpose, load, watched_files};
pub use project::*;
pub use route::{RoutePattern, RoutePatternError};
pub use server::*;
pub use spans::{Spans, bad_main, container_class_not_exported};
