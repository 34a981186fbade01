//! Who may use an ingress: a listener on loopback is open to every user of the machine, and what
//! stands behind it is as powerful as the Docker socket, which is root's alone.

use std::sync::Once;

use berth_net::Peer;
use tokio::net::TcpStream;

/// Whether the connection comes from root or from the user that this process runs as.
pub(super) fn admits(stream: &TcpStream) -> bool {
    static STRANGER: Once = Once::new();
    static UNKNOWN: Once = Once::new();

    match berth_net::peer(stream) {
        Ok(Peer::User(uid)) if uid == 0 || uid == rustix::process::geteuid().as_raw() => true,
        Ok(Peer::User(uid)) => {
            // Once: a stranger must not be able to fill the log.
            STRANGER.call_once(|| {
                tracing::warn!(uid, "another user's connection to a container was refused");
            });
            tracing::debug!(uid, "refused another user's connection");
            false
        }
        Ok(Peer::Gone) => false,
        Ok(Peer::Unknown) => {
            UNKNOWN.call_once(|| {
                tracing::warn!(
                    "this kernel does not say who connects: every user of this machine can reach \
                     the ports of containers"
                );
            });
            true
        }
        Err(error) => {
            tracing::debug!(%error, "refused a connection: whose it is could not be asked");
            false
        }
    }
}
