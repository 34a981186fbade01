//! Bundles a Worker, writes workerd's configuration, supervises the process.
#![forbid(unsafe_code)]
