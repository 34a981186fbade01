//! The container's datagrams: port 53 goes to the resolver, the rest to a relay, or nowhere.
//!
//! One socket per address family catches them all. Answers are written with their IP header by a
//! raw socket, because they must come from whatever address and port the container had asked.

mod flows;
mod packet;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use crate::Upstream;
use crate::dns::{self, Transport};
use crate::namespace::DatagramPort;
use crate::network::Shared;
use crate::sys::datagram::{self, Received};
use flows::Flows;

/// Queries of one container that are being resolved at the same time; further ones are lost, as
/// datagrams may be.
const QUERIES: usize = 256;

/// Port of QUIC, which would carry HTTP past whoever intercepts it: not relayed while workerd
/// decides, so that clients fall back to TCP.
const QUIC: u16 = 443;

/// The sending half.
#[derive(Debug)]
pub(crate) struct Answers {
    raw: Socket,
}

impl Answers {
    /// Sends a datagram into the container. Lost when the container does not take it.
    pub(crate) fn send(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        if let Some(packet) = packet::datagram(from, to, payload) {
            self.send_packet(to, &packet);
        }
    }

    /// Tells the container that its datagram could not be delivered.
    pub(crate) fn refuse(&self, from: SocketAddr, to: SocketAddr) {
        if let Some(packet) = packet::unreachable(from, to) {
            self.send_packet(from, &packet);
        }
    }

    fn send_packet(&self, to: SocketAddr, packet: &[u8]) {
        // A raw socket has no ports, and IPv6 insists on it.
        let to = SocketAddr::new(to.ip(), 0);
        if let Err(error) = self.raw.send_to(packet, &to.into()) {
            tracing::debug!(%error, %to, "could not answer a datagram of a container");
        }
    }
}

/// Serves one address family for ever.
pub(crate) async fn serve(port: DatagramPort, shared: Arc<Shared>) {
    let captured = match UdpSocket::from_std(port.captured) {
        Ok(captured) => captured,
        Err(error) => {
            tracing::error!(%error, "could not watch the datagrams of a container");
            return;
        }
    };
    let answers = Arc::new(Answers { raw: port.raw });
    let flows = Arc::new(Flows::new(Arc::clone(&answers), Arc::clone(&shared)));
    let queries = Arc::new(Semaphore::new(QUERIES));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = captured
            .async_io(Interest::READABLE, || {
                datagram::receive(captured.as_fd(), &mut buffer)
            })
            .await;
        match received {
            Ok(received) => {
                let payload = &buffer[..received.length];
                dispatch(received, payload, &shared, &answers, &flows, &queries);
            }
            Err(error) => tracing::debug!(%error, "could not receive a datagram of a container"),
        }
    }
}

fn dispatch(
    received: Received,
    payload: &[u8],
    shared: &Arc<Shared>,
    answers: &Arc<Answers>,
    flows: &Arc<Flows>,
    queries: &Arc<Semaphore>,
) {
    let Received {
        source,
        destination,
        ..
    } = received;
    if destination.port() == 53 && !destination.ip().is_loopback() {
        if let Ok(slot) = Arc::clone(queries).try_acquire_owned() {
            let (query, answers) = (payload.to_vec(), Arc::clone(answers));
            let resolver = Arc::clone(shared);
            shared.start(async move {
                if let Some(answer) = dns::answer(&query, Transport::Udp, &resolver).await {
                    answers.send(destination, source, &answer);
                }
                drop(slot);
            });
        }
        return;
    }
    match permitted(destination, shared) {
        Ok(()) => flows.send(source, destination, payload),
        Err(error) => {
            tracing::debug!(%error, %destination, "refused a datagram of a container");
            answers.refuse(source, destination);
        }
    }
}

/// Whether datagrams to `destination` are relayed now, conversations that have begun included.
fn permitted(destination: SocketAddr, shared: &Shared) -> io::Result<()> {
    let policy = shared.policy();
    if !policy.egress.internet {
        return Err(io::Error::other("the internet is off"));
    }
    if matches!(policy.egress.upstream, Upstream::Tunnel(_)) && destination.port() == QUIC {
        return Err(io::Error::other("QUIC cannot be intercepted"));
    }
    Ok(())
}
