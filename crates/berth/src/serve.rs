//! `berth serve`: deployed Workers, each with a workerd of its own, behind one gateway.
//!
//! | module | its job |
//! |---|---|
//! | [`server`] | the parts, and their order of start and end |
//! | [`apps`] | which Workers are to run: records compared with what runs |
//! | [`app`] | one Worker: its workerd, replaced when its record changes |
//! | [`project`] | a deployed version as workerd's configuration needs it |
//! | [`admin`] | the token of this machine's administrator |

pub(crate) mod admin;
mod app;
mod apps;
mod project;
pub(crate) mod server;
