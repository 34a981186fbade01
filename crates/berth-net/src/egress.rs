//! Carrying the container's connections outwards.
//!
//! What happens to a connection, in order:
//!
//! 1. It is accepted, whoever it is for: the capture decides before anybody knows the policy. So a
//!    refusal, also by the destination itself, is a reset of a connection that was made, never
//!    `ECONNREFUSED` from `connect`. (ICMP is no connection: the namespace's own kernel answers
//!    every `ping`.)
//! 2. Port 53 is the resolver's, at every address.
//! 3. Addresses of the host and of metadata services are refused (`destination`), unless workerd
//!    decides and the internet is off: then nothing is dialled that is not intercepted.
//! 4. With [`Upstream::Tunnel`] the first bytes are read, as far as they name somebody (`sniff`),
//!    and workerd is asked (`tunnel`): HTTPS mappings by server name, HTTP mappings by host or
//!    address, TCP mappings by address; else passed through, or ended where there is no internet.
//! 5. HTTP that workerd intercepts it judges request by request, by the `Host` or the URL of each.
//!    TLS that it intercepts ends here (`intercept`), with HTTP/1.1 inside: a client that offers
//!    only HTTP/2 gets the alert `no_application_protocol`.
//!
//! What that cannot do: with the internet on, a list of denied hosts keeps out programs that say
//! whom they talk to. TLS without a server name, and any protocol on ports other than 80 and 443,
//! goes to the address it was sent to. Only the internet being off is a barrier. And a class that
//! passes requests on asks as its Worker does: what the Worker's `fetch` reaches, private addresses
//! included, its container reaches by naming it.

mod destination;
mod intercept;
mod sniff;
mod tunnel;

pub(crate) use destination::check;
#[cfg(fuzzing)]
pub(crate) use sniff::sniff;
#[cfg(test)]
pub(crate) use sniff::tests as sniff_tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::Upstream;
use crate::dns;
use crate::network::Shared;
use crate::relay::{relay, reset, write_all};
use crate::usage::add;
use intercept::Interception;
pub(crate) use sniff::Verdict;

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
    if destination.port() == DNS && !destination.ip().is_loopback() {
        return dns::serve_stream(inside, shared).await;
    }
    match open(&inside, destination, shared).await {
        Ok(Way::Raw(outside)) => {
            relay(inside, outside, &shared.counters).await;
            Ok(())
        }
        Ok(Way::Tls(interception)) => interception.carry(inside, shared).await,
        Err(error) => {
            reset(inside);
            Err(error)
        }
    }
}

/// IPv4 addresses in IPv6 clothes as what they are.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// How a connection goes on.
enum Way {
    /// Its bytes pass. What the container said first has been sent on.
    Raw(TcpStream),
    /// Its TLS ends here.
    Tls(Interception),
}

async fn open(inside: &TcpStream, destination: SocketAddr, shared: &Shared) -> io::Result<Way> {
    let policy = shared.decided_policy().await;
    // Without the internet workerd (1.20261117.1) dials nothing for a connection that it does not
    // intercept, so it may be asked about every address: a class may stand in for a metadata service.
    let nobody_dials =
        matches!(policy.egress.upstream, Upstream::Tunnel(_)) && !policy.egress.internet;
    let forward = shared
        .options
        .forwards
        .get(&canonical(destination))
        .copied();
    if !nobody_dials && forward.is_none() {
        check(destination.ip(), &shared.options.allowed_destinations)?;
    }
    // Latency is the applications' decision: what they sent goes on as it came.
    inside.set_nodelay(true)?;
    // A service of ours is nobody else's to reach: workerd is not asked for it.
    let ours = forward.filter(|_| policy.egress.internet);
    if let Some(dialled) = ours {
        let outside = tokio::time::timeout(DIAL, TcpStream::connect(dialled)).await??;
        outside.set_nodelay(true)?;
        return Ok(Way::Raw(outside));
    }
    match policy.egress.upstream {
        Upstream::Direct if policy.egress.internet => {
            let outside = tokio::time::timeout(DIAL, TcpStream::connect(destination)).await??;
            outside.set_nodelay(true)?;
            Ok(Way::Raw(outside))
        }
        Upstream::Direct => Err(io::Error::other("the internet is off")),
        Upstream::Tunnel(listener) => {
            let opening = tunnel::listen(inside, destination.port()).await?;
            let source = inside.peer_addr()?;
            let accepted = tunnel::connect(listener, source, destination, &opening.verdict).await?;
            accepted.outside.set_nodelay(true)?;
            if let (Verdict::Tls(name), 200) = (&opening.verdict, accepted.status) {
                return Ok(Way::Tls(Interception {
                    name: name.clone(),
                    hello: opening.bytes,
                    accepted,
                }));
            }
            write_all(&accepted.outside, &opening.bytes).await?;
            add(shared.counters.egress(), opening.bytes.len());
            write_all(inside, &accepted.early).await?;
            add(shared.counters.ingress(), accepted.early.len());
            Ok(Way::Raw(accepted.outside))
        }
    }
}
