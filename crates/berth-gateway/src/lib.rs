//! The front door: HTTP and WebSockets to workerd, holding requests while it restarts.
#![forbid(unsafe_code)]
