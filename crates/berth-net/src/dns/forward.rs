//! Asking the host's resolvers, with the container's query as it came.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::{ANSWER, HEADER, Transport};

/// How long all attempts together may take.
const TOTAL: Duration = Duration::from_secs(5);
/// How long one resolver may take before the next one is asked.
const ATTEMPT: Duration = Duration::from_secs(2);
/// In the third byte of a header: the answer did not fit.
const TRUNCATED: u8 = 0x02;

/// The response code in a message's header.
pub(super) fn code(message: &[u8]) -> u8 {
    message.get(3).map_or(0, |byte| byte & 0x0f)
}

/// The first answer that a resolver gives; `None` when none does in time.
pub(super) async fn forward(
    query: &[u8],
    transport: Transport,
    servers: &[SocketAddr],
) -> Option<Vec<u8>> {
    let deadline = Instant::now() + TOTAL;
    let mut failures = 0;
    for server in servers.iter().cycle() {
        let started = Instant::now();
        match timeout_at(deadline, timeout(ATTEMPT, ask(query, transport, *server))).await {
            Ok(Ok(Ok(answer))) => return Some(answer),
            // One that refuses need not be asked again.
            Ok(Ok(Err(error))) => {
                tracing::debug!(%server, %error, "a resolver failed");
                failures += 1;
                if failures >= servers.len() {
                    return None;
                }
            }
            Ok(Err(_)) => {
                tracing::debug!(%server, elapsed = ?started.elapsed(), "a resolver is silent");
            }
            Err(_) => return None,
        }
    }
    None
}

async fn ask(query: &[u8], transport: Transport, server: SocketAddr) -> io::Result<Vec<u8>> {
    let answer = ask_datagram(query, server).await?;
    if transport == Transport::Tcp && answer[2] & TRUNCATED != 0 {
        return ask_stream(query, server).await;
    }
    // Over UDP the client sees the mark and comes again by TCP.
    Ok(answer)
}

async fn ask_datagram(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // A port of its own for every query: who guesses answers must guess it too.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_stream(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, query) {
        Ok(answer)
    } else {
        Err(io::Error::other("an answer to another query"))
    }
}

/// Whether `message` has a whole header and is an answer to `query`.
fn answers(message: &[u8], query: &[u8]) -> bool {
    message.len() >= HEADER && message[..2] == query[..2] && message[2] & ANSWER != 0
}
