//! What each command does; `commands/<noun>/<verb>.rs` mirrors the command line.

pub(crate) mod backup;
pub(crate) mod containers;
pub(crate) mod delete;
pub(crate) mod deployments;
pub(crate) mod dev;
pub(crate) mod docker;
pub(crate) mod engine;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod r2;
pub(crate) mod registry;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod trace;
pub(crate) mod versions;
pub(crate) mod whoami;
