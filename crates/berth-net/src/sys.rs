//! The syscall edge: every `unsafe` block of this crate is in the modules below, behind safe faces.

pub(crate) mod bpf;
pub(crate) mod datagram;
pub(crate) mod page;
pub(crate) mod unshare;
