//! What a server and the service manager that runs it have to do with each other.
//!
//! It is told how the server is by the protocol of sd_notify(3): a datagram of `NAME=value` lines to the socket that
//! `NOTIFY_SOCKET` names.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The server answers.
pub(crate) fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// It has been asked to end, and does so.
pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=Requests in flight may end");
}

/// What is printed goes to the journal, which keeps it: `JOURNAL_STREAM` has the device and inode of the stream, see
/// systemd.exec(5).
pub(crate) fn is_journaled() -> bool {
    let named = std::env::var("JOURNAL_STREAM");
    let status = rustix::fs::fstat(std::io::stdout());
    let (Ok(named), Ok(status)) = (named, status) else {
        return false;
    };
    named == format!("{}:{}", status.st_dev, status.st_ino)
}

/// Says at least twice in the time that `WATCHDOG_USEC` gives that the server is alive; one that says nothing that
/// long is killed and started anew, and its containers stay. Returns at once where nobody wants to know.
pub(crate) async fn keep_alive() {
    let period = std::env::var("WATCHDOG_USEC").ok();
    let Some(period) = period.and_then(|period| period.parse().ok()) else {
        return;
    };
    let mut ticks = tokio::time::interval(Duration::from_micros(period) / 3);
    loop {
        ticks.tick().await;
        tell("WATCHDOG=1");
    }
}

/// Does nothing without a service manager that wants to know. That it does not listen is said, and nothing more:
/// the server runs without it, too.
fn tell(message: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    // A name that begins with `@` is in the abstract namespace.
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.send_to_addr(message.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(socket = %name.display(), %error, "the service manager cannot be told");
    }
}
