//! Application containers (and, where a client does not tell them apart, sidecars).

mod create;
mod json;
mod lifecycle;
mod list;
mod logs;
mod policy;
mod stats;
mod wait;

pub(crate) use create::create;
pub(crate) use lifecycle::{kill, pause, remove, start, stop, unpause};
pub(crate) use list::{inspect, list};
pub(crate) use logs::logs;
pub(crate) use stats::stats;
pub(crate) use wait::wait;
