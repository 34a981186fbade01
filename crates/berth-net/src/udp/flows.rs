//! Relaying datagrams: one socket on the host per pair of addresses, until it has been idle.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Answers;
use crate::egress;
use crate::network::Shared;
use crate::usage::add;

/// How long a conversation may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Who talks with whom.
type Pair = (SocketAddr, SocketAddr);

/// The conversations of one container in one address family.
#[derive(Debug)]
pub(super) struct Flows {
    answers: Arc<Answers>,
    shared: Arc<Shared>,
    open: Mutex<HashMap<Pair, Arc<Flow>>>,
}

#[derive(Debug)]
struct Flow {
    outside: UdpSocket,
    used: Mutex<Instant>,
    end: CancellationToken,
}

impl Flow {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_use(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flows {
    pub(super) fn new(answers: Arc<Answers>, shared: Arc<Shared>) -> Self {
        Self {
            answers,
            shared,
            open: Mutex::default(),
        }
    }

    /// Sends a datagram outwards, in the conversation it belongs to.
    pub(super) fn send(
        self: &Arc<Self>,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        let sent = self
            .flow((source, destination))
            // Past tokio, which does not know yet that a new socket can be written to.
            .and_then(|flow| SockRef::from(&flow.outside).send(payload));
        match sent {
            Ok(length) => add(self.shared.counters.egress(), length),
            // A full socket loses datagrams, as networks do.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, %destination, "refused a datagram of a container");
                self.answers.refuse(source, destination);
            }
        }
    }

    /// The conversation, begun if its destination may be reached.
    fn flow(self: &Arc<Self>, pair: Pair) -> io::Result<Arc<Flow>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = open.get(&pair) {
            flow.touch();
            return Ok(Arc::clone(flow));
        }
        egress::check(pair.1.ip(), &self.shared.options.allowed_destinations)?;
        let flow = Arc::new(Flow {
            outside: dial(pair.1)?,
            used: Mutex::new(Instant::now()),
            end: CancellationToken::new(),
        });
        if open.len() >= self.shared.options.max_udp_flows {
            let idlest = open.iter().min_by_key(|(_, flow)| flow.last_use());
            let idlest = idlest.map(|(pair, _)| *pair);
            if let Some(replaced) = idlest.and_then(|pair| open.remove(&pair)) {
                replaced.end.cancel();
            }
        }
        open.insert(pair, Arc::clone(&flow));
        self.shared
            .start(Arc::clone(self).receive(pair, Arc::clone(&flow)));
        Ok(flow)
    }

    /// Carries answers into the container until the conversation is idle or replaced.
    async fn receive(self: Arc<Self>, pair: Pair, flow: Arc<Flow>) {
        loop {
            let idle_at = flow.last_use() + IDLE;
            tokio::select! {
                () = flow.end.cancelled() => return,
                () = sleep_until(idle_at) => {
                    // The container may have sent meanwhile.
                    if flow.last_use() + IDLE <= Instant::now() {
                        break;
                    }
                }
                ready = flow.outside.ready(Interest::READABLE | Interest::ERROR) => {
                    let delivered = ready.and_then(|ready| {
                        if ready.is_error() {
                            self.refused(pair, &flow)?;
                        }
                        self.deliver(pair, &flow)
                    });
                    if let Err(error) = delivered {
                        tracing::debug!(%error, "a conversation of a container broke");
                        break;
                    }
                }
            }
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !flow.end.is_cancelled() {
            open.remove(&pair);
        }
    }

    /// Passes on that the destination refuses.
    fn refused(&self, pair: Pair, flow: &Flow) -> io::Result<()> {
        if flow.outside.take_error()?.is_some() {
            self.answers.refuse(pair.0, pair.1);
        }
        // Tells tokio that the error is gone.
        let gone = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
        let _ = flow.outside.try_io(Interest::ERROR, gone);
        Ok(())
    }

    /// Delivers the answers that are there.
    fn deliver(&self, pair: Pair, flow: &Flow) -> io::Result<()> {
        let (source, destination) = pair;
        // Made when there is something to read, so that an idle conversation holds none.
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            match flow.outside.try_recv(&mut buffer) {
                Ok(length) => {
                    flow.touch();
                    add(self.shared.counters.ingress(), length);
                    self.answers.send(destination, source, &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.answers.refuse(source, destination);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket on the host that talks with `destination` only.
fn dial(destination: SocketAddr) -> io::Result<UdpSocket> {
    let any = match destination {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = StdUdpSocket::bind((any, 0))?;
    socket.connect(destination)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
