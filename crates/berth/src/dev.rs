//! The `berth dev` session: what a person sees and touches, and the parts it drives.
//!
//! [`session`] owns the parts (engine, Docker API, workerd, gateway) and their order of start and
//! end; [`run`] is the loop that waits for something to happen. Everything shown goes through
//! [`screen::Screen`] as an [`event::DevEvent`], so text and `--json` cannot drift apart.

pub(crate) mod bindings;
pub(crate) mod event;
pub(crate) mod identity;
pub(crate) mod images;
pub(crate) mod keys;
pub(crate) mod pump;
pub(crate) mod run;
pub(crate) mod screen;
pub(crate) mod session;
pub(crate) mod state_lock;
pub(crate) mod watch;
pub(crate) mod worker;
