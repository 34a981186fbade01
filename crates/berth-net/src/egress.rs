//! Carrying the container's connections outwards.

mod destination;

pub(crate) use destination::check;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::dns;
use crate::network::Shared;
use crate::relay::{relay, reset};
use crate::{Egress, Upstream};

/// How long a destination may take to answer. The container has its connection already, so this
/// is not its own connect timeout.
const DIAL: Duration = Duration::from_secs(30);

/// Port that our resolver answers, whatever the address.
const DNS: u16 = 53;

/// Pause after an accept that failed for want of descriptors or memory: accepting again at once
/// would fail again, and nothing tells when there is one.
const SHORTAGE: Duration = Duration::from_millis(20);

/// Accepts captured connections for ever.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, slots: Arc<Semaphore>) {
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((inside, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let token = shared.token.clone();
                    token.run_until_cancelled(carry(inside, &shared)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "could not accept a connection of a container");
                tokio::time::sleep(SHORTAGE).await;
            }
        }
    }
}

/// Carries one connection from its first to its last byte.
async fn carry(inside: TcpStream, shared: &Shared) {
    if let Err(error) = try_carry(inside, shared).await {
        tracing::debug!(%error, "refused a connection of a container");
    }
}

async fn try_carry(inside: TcpStream, shared: &Shared) -> io::Result<()> {
    let destination = inside.local_addr()?;
    if destination.port() == DNS {
        return dns::serve_stream(inside, shared).await;
    }
    let policy = shared.policy();
    match open(destination, &policy.egress, shared).await {
        Ok(outside) => {
            // Latency is the applications' decision: what they sent goes on as it came.
            let _ = inside.set_nodelay(true);
            let _ = outside.set_nodelay(true);
            relay(inside, outside, &shared.counters).await;
            Ok(())
        }
        Err(error) => {
            reset(inside);
            Err(error)
        }
    }
}

async fn open(destination: SocketAddr, egress: &Egress, shared: &Shared) -> io::Result<TcpStream> {
    check(destination.ip(), &shared.options.allowed_destinations)?;
    match egress.upstream {
        Upstream::Direct if egress.internet => {
            tokio::time::timeout(DIAL, TcpStream::connect(destination)).await?
        }
        Upstream::Direct => Err(io::Error::other("the internet is off")),
        Upstream::Tunnel(_) => Err(io::Error::other("not yet")),
    }
}
