//! Ending a container's TLS here, for workerd to speak plain HTTP/1.1 over the tunnel.

use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::tunnel::Accepted;
use crate::network::Shared;
use crate::relay::reset;
use crate::usage::add;

/// How long a client may take for its half of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes read at a time: a TLS record's worth.
const CHUNK: usize = 16 * 1024;

/// A connection that workerd wants to read in plain.
#[derive(Debug)]
pub(super) struct Interception {
    /// The server name the client asked for.
    pub(super) name: String,
    /// The client's hello, which has been read already.
    pub(super) hello: Vec<u8>,
    pub(super) accepted: Accepted,
}

impl Interception {
    /// Carries the connection to its end.
    ///
    /// # Errors
    ///
    /// When the handshake fails (the client does not trust the CA, or insists on HTTP/2) or either
    /// side breaks; the way to workerd is then reset.
    pub(super) async fn carry(self, inside: TcpStream, shared: &Shared) -> io::Result<()> {
        let Accepted {
            mut outside, early, ..
        } = self.accepted;
        let result = async {
            let server = shared.ca.server(&self.name).map_err(io::Error::other)?;
            let (read, write) = inside.into_split();
            let inside = tokio::io::join(std::io::Cursor::new(self.hello).chain(read), write);
            let handshake = TlsAcceptor::from(server).accept(inside);
            let mut inside = timeout(HANDSHAKE, handshake).await??;
            inside.write_all(&early).await?;
            inside.flush().await?;
            add(shared.counters.ingress(), early.len());
            let (mut from_inside, mut to_inside) = tokio::io::split(inside);
            let (mut from_outside, mut to_outside) = outside.split();
            tokio::try_join!(
                pump(&mut from_inside, &mut to_outside, shared.counters.egress()),
                pump(&mut from_outside, &mut to_inside, shared.counters.ingress()),
            )?;
            Ok(())
        }
        .await;
        if result.is_err() {
            reset(outside);
        }
        result
    }
}

/// Copies one direction until its end, then passes the end on.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut buffer).await {
            // Many clients close without TLS's own goodbye. HTTP says itself where it ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            result => result?,
        };
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
        add(count, length);
    }
}
