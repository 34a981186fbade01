//! `Value` → `Project`: one small decoder per part of the file.
//!
//! Decoders never stop at a mistake. They report it to `Cx` and go on with a stand-in, so that
//! one run shows everything; a stand-in never reaches anyone, because a project with errors is
//! dropped. A decoder that depends on another's result keeps quiet about what was reported already.

mod assets;
mod bindings;
mod bundle;
mod classes;
mod containers;
mod crons;
mod cx;
mod dev;
mod durable;
mod exports;
mod field;
mod image;
mod instance;
mod keys;
mod links;
mod migrations;
mod nearest;
mod observability;
mod placement;
mod project;
mod rollout;
mod root;
mod ssh;
mod unique;
mod vars;
mod worker;

pub use crons::check_cron;
pub(crate) use cx::Cx;
pub(crate) use field::{Field, Fields, member};
pub(crate) use instance::may_be_called;
pub use instance::{InstanceTypes, MAX_DISK_MB, MAX_MEMORY_MIB, MAX_VCPU, MIN_VCPU, instance_type};
pub(crate) use nearest::{list, nearest};
pub(crate) use project::{Decoded, Settings, decode};
