//! wrangler configuration (`wrangler.jsonc`, `.json`, `.toml`) → one validated [`Project`].
#![forbid(unsafe_code)]

mod project;

pub use project::*;
