//! The way to workerd: `CONNECT` to its egress listener, which decides about every connection.
//!
//! workerd takes this for its sidecar. What it needs to decide is sent along: where the connection
//! goes (`CONNECT` target), where it came from (`X-Forwarded-For`), and whom its first bytes name
//! (`X-Tls-Sni` or `X-Hostname`). It answers 200 for an intercepted HTTP connection, 202 for a raw
//! one, and 300 or more for none.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::sniff::{Verdict, is_tls, sniff};
use crate::relay::write_all;

/// How long workerd may take to decide, the dialling of a passed-through destination included.
const DECISION: Duration = Duration::from_secs(60);
/// Longest head of workerd's answer.
const HEAD: usize = 16 * 1024;

/// How long a client of port 80 or 443 may take for its first byte. There the client speaks
/// first, and who it speaks to decides; a container with little CPU may need its time.
const CLIENT_FIRST: Duration = Duration::from_secs(30);
/// The same elsewhere, where the server may be the one to speak first (SMTP, MySQL, SSH): without
/// a first byte the connection is announced without a name.
const EITHER_FIRST: Duration = Duration::from_millis(20);
/// How long the rest of a hello or a request head may take after its first byte.
const REST: Duration = Duration::from_secs(10);

/// The first bytes of a connection.
#[derive(Debug)]
pub(super) struct Opening {
    /// The bytes, which are still to be sent on.
    pub(super) bytes: Vec<u8>,
    /// Whom they name.
    pub(super) verdict: Verdict,
}

/// Reads what a client says first, as far as it tells whom the connection is for.
pub(super) async fn listen(inside: &TcpStream, port: u16) -> io::Result<Opening> {
    let patience = match port {
        80 | 443 => CLIENT_FIRST,
        _ => EITHER_FIRST,
    };
    let mut deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut verdict = Verdict::Incomplete;
    while verdict == Verdict::Incomplete {
        match timeout_at(deadline, inside.readable()).await {
            Ok(ready) => ready?,
            // Going on without the rest of a hello would go past whoever judges by its name.
            Err(_) if is_tls(&bytes) => return Err(unreadable()),
            // Silent, or too slow: it goes on as it is.
            Err(_) => break,
        }
        let mut chunk = [0; 4096];
        match inside.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                if bytes.is_empty() {
                    deadline = Instant::now() + REST;
                }
                bytes.extend(&chunk[..length]);
                verdict = sniff(&bytes, port);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    if verdict == Verdict::Unreadable {
        return Err(unreadable());
    }
    Ok(Opening { bytes, verdict })
}

fn unreadable() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "no server name can be read of the TLS hello",
    )
}

/// A connection to workerd that it has accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) outside: TcpStream,
    /// 200: workerd speaks HTTP on it. 202: it passes bytes.
    pub(super) status: u16,
    /// What came with the answer's head and belongs to the connection.
    pub(super) early: Vec<u8>,
}

/// Announces a connection to workerd's listener and waits for its decision.
///
/// # Errors
///
/// When workerd is not there, answers nonsense, is too slow, or refuses.
pub(super) async fn connect(
    listener: SocketAddr,
    source: SocketAddr,
    destination: SocketAddr,
    verdict: &Verdict,
) -> io::Result<Accepted> {
    let decide = async {
        let outside = TcpStream::connect(listener).await?;
        let request = request(source, destination, verdict);
        write_all(&outside, request.as_bytes()).await?;
        let (status, early) = read_head(&outside).await?;
        match status {
            200..300 => Ok(Accepted {
                outside,
                status,
                early,
            }),
            _ => Err(io::Error::other(format!("workerd answered {status}"))),
        }
    };
    timeout_at(Instant::now() + DECISION, decide).await?
}

fn request(source: SocketAddr, destination: SocketAddr, verdict: &Verdict) -> String {
    let name = match verdict {
        Verdict::Tls(name) => format!("X-Tls-Sni: {name}\r\n"),
        Verdict::Http(host) => format!("X-Hostname: {host}\r\n"),
        Verdict::Incomplete | Verdict::Unknown | Verdict::Unreadable => String::new(),
    };
    format!(
        "CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nUser-Agent: berth\r\n\
         Connection: close\r\nX-Forwarded-For: {source}\r\nX-Proto: tcp\r\n{name}\r\n"
    )
}

/// Reads the head of workerd's answer: the status, and what came after the head.
async fn read_head(outside: &TcpStream) -> io::Result<(u16, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let early = head.split_off(end + 4);
            let status = status(&head);
            let status = status.ok_or_else(|| io::Error::other("no HTTP answer from workerd"))?;
            return Ok((status, early));
        }
        if head.len() > HEAD {
            return Err(io::Error::other("an endless HTTP answer from workerd"));
        }
        outside.readable().await?;
        let mut chunk = [0; 1024];
        match outside.try_read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => head.extend(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The status code in a status line.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let code = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    code.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_both_ends_and_the_host() {
        let request = request(
            "10.88.0.2:4321".parse().unwrap(),
            "[2001:db8::1]:443".parse().unwrap(),
            &Verdict::Tls("a.example".to_owned()),
        );
        let lines: Vec<&str> = request.split("\r\n").collect();
        assert_eq!(
            lines,
            [
                "CONNECT [2001:db8::1]:443 HTTP/1.1",
                "Host: [2001:db8::1]:443",
                "User-Agent: berth",
                "Connection: close",
                "X-Forwarded-For: 10.88.0.2:4321",
                "X-Proto: tcp",
                "X-Tls-Sni: a.example",
                "",
                "",
            ]
        );
    }

    #[test]
    fn a_status_line_gives_its_code() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 202\r\n\r\n"), Some(202));
        for junk in ["", "HTTP/2 200", "200 OK", "HTTP/1.1 2x0"] {
            assert_eq!(status(junk.as_bytes()), None, "{junk}");
        }
    }
}
