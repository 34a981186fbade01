//! Application containers (and, where a client does not tell them apart, sidecars).

mod create;
mod json;
mod lifecycle;
mod list;
mod logs;
mod policy;
mod wait;

pub(crate) use create::create;
pub(crate) use lifecycle::{kill, remove, start, stop};
pub(crate) use list::{inspect, list};
pub(crate) use logs::logs;
pub(crate) use wait::wait;
