//! Carries bytes between workerd and a container.
//!
//! Invariants: an end of stream on one side becomes an end of stream on the other at once, while
//! the reverse direction goes on (workerd pools tunnels, and must see when the application closes
//! an idle one); a reset becomes a reset; an idle tunnel holds no buffer, because there are up to
//! four per container.
//!
//! A container that gives way to another one of its name (a rollout) closes its connections, and may do so in
//! the very moment in which workerd takes an idle one for its next request, which would fail. Such a connection
//! stays open for workerd, and what it sends next goes to the new container. That is done only between two
//! exchanges that are HTTP/1.1 beyond doubt; anything else breaks, as it does when a program ends.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::http;

/// Bytes moved at once.
const BUFFER: usize = 64 << 10;

/// Reads in a row before other tasks get their turn.
const BURST: usize = 16;

/// A piece that was carried, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried<'a> {
    In(&'a [u8]),
    Out(&'a [u8]),
    /// The client sends nothing more.
    End,
}

/// How a tunnel's way to one container ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both directions have ended, or one failed.
    Over,
    /// The container gives way to another one, and these bytes are the beginning of the next request: they are
    /// for that one.
    Next(Vec<u8>),
}

/// What is on the way in a tunnel, as far as can be told from its bytes.
struct Exchange<G> {
    /// Whether the container gives way to another one.
    gives_way: G,
    owed: AtomicBool,
    /// The last answer says itself where it ends, and that the connection goes on; so does none.
    delimited: AtomicBool,
    /// The client sends nothing more.
    finished: CancellationToken,
}

impl<G: Fn() -> bool> Exchange<G> {
    /// No answer is on the way, so that the next request may as well be another container's.
    fn is_at_rest(&self) -> bool {
        (self.gives_way)()
            && !self.owed.load(Ordering::Relaxed)
            && self.delimited.load(Ordering::Relaxed)
    }

    fn inbound(&self) {
        self.owed.store(true, Ordering::Relaxed);
    }

    fn outbound(&self, bytes: &[u8]) {
        if self.owed.swap(false, Ordering::Relaxed) {
            let delimited = http::is_delimited_answer(bytes);
            self.delimited.store(delimited, Ordering::Relaxed);
        }
    }
}

/// Why one direction goes on no more.
enum Stop {
    Failed(io::Error),
    Next(Vec<u8>),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Carries bytes both ways until both directions have ended or one failed, or the container `gives_way` and the
/// client begins another request. `early` is what the client sent before the tunnel was open; `meter` hears of
/// every piece.
pub(crate) async fn relay(
    client: &TcpStream,
    app: &TcpStream,
    early: &[u8],
    meter: impl Fn(Carried<'_>),
    gives_way: impl Fn() -> bool,
) -> Ended {
    if let Err(error) = app.set_nodelay(true) {
        tracing::debug!(%error, "tunnel without TCP_NODELAY");
    }
    let exchange = Exchange {
        gives_way,
        owed: AtomicBool::new(false),
        delimited: AtomicBool::new(true),
        finished: CancellationToken::new(),
    };
    let upstream = async {
        if !early.is_empty() {
            meter(Carried::In(early));
            exchange.inbound();
        }
        write_all(app, early).await?;
        pump(client, app, |piece| {
            if exchange.is_at_rest() && http::is_request(piece) {
                return Err(Stop::Next(piece.to_vec()));
            }
            meter(Carried::In(piece));
            exchange.inbound();
            Ok(())
        })
        .await?;
        meter(Carried::End);
        exchange.finished.cancel();
        Ok(end_of_stream(app)?)
    };
    let downstream = async {
        let ended = pump(app, client, |piece| {
            meter(Carried::Out(piece));
            exchange.outbound(piece);
            Ok(())
        })
        .await;
        if exchange.is_at_rest() {
            // The client may be sending its next request just now.
            exchange.finished.cancelled().await;
        }
        ended?;
        Ok(end_of_stream(client)?)
    };
    match tokio::try_join!(upstream, downstream) {
        Ok(((), ())) => Ended::Over,
        Err(Stop::Next(bytes)) => Ended::Next(bytes),
        Err(Stop::Failed(error)) => {
            tracing::trace!(%error, "a tunnel broke");
            reset_on_close(client);
            reset_on_close(app);
            Ended::Over
        }
    }
}

/// Until the end of `from`. `look` sees every piece before it is passed on.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    look: impl Fn(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    loop {
        from.readable().await?;
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..BURST {
            buffer.clear();
            match from.try_read_buf(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    // First: a container that sleeps reads nothing until it is woken.
                    look(&buffer)?;
                    write_all(to, &buffer).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn end_of_stream(to: &TcpStream) -> io::Result<()> {
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // The other side is gone already: nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}

/// Makes the kernel send a reset instead of an orderly end when the socket is dropped.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "passing a reset on");
    }
}
