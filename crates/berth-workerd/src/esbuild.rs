//! esbuild as a service: the protocol its npm package speaks with its executable over stdin/stdout.
//!
//! `esbuild --service=<its own version>` writes its version as a first packet, then both sides send
//! packets that are requests or replies (see [`packet`]). A build is one request; while it runs,
//! esbuild asks back for every import that a plugin's filter matches. Facts: `lib/main.js` of the
//! npm package, 0.28.2. One [`Session`] serves one build and owns the process.

mod packet;
mod session;

pub(crate) use packet::{Value, map, message};
pub use session::SessionError;
pub(crate) use session::{Plugin, Resolution, Resolve, Session, Step};
