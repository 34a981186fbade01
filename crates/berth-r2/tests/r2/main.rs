//! The store as its clients see it: processes, sockets, S3 clients that are not ours.

mod bucket;
mod clients;
mod kill;
mod protocol;
mod store;
mod support;
