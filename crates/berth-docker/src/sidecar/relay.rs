//! Carries bytes between workerd and a container.
//!
//! Invariants: an end of stream on one side becomes an end of stream on the other at once, while
//! the reverse direction goes on (workerd pools tunnels, and must see when the application closes
//! an idle one); a reset becomes a reset; an idle tunnel holds no buffer, because there are up to
//! four per container.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

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

/// Carries bytes both ways until both directions have ended or one failed. `early` is what the
/// client sent before the tunnel was open; `meter` hears of every piece.
pub(crate) async fn relay(
    client: &TcpStream,
    app: &TcpStream,
    early: &[u8],
    meter: impl Fn(Carried<'_>),
) {
    if let Err(error) = app.set_nodelay(true) {
        tracing::debug!(%error, "tunnel without TCP_NODELAY");
    }
    let upstream = async {
        if !early.is_empty() {
            meter(Carried::In(early));
        }
        write_all(app, early).await?;
        pump(client, app, |piece| meter(Carried::In(piece))).await?;
        meter(Carried::End);
        Ok(())
    };
    let downstream = pump(app, client, |piece| meter(Carried::Out(piece)));
    if let Err(error) = tokio::try_join!(upstream, downstream) {
        tracing::trace!(%error, "a tunnel broke");
        reset_on_close(client);
        reset_on_close(app);
    }
}

async fn pump(from: &TcpStream, to: &TcpStream, meter: impl Fn(&[u8])) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..BURST {
            buffer.clear();
            match from.try_read_buf(&mut buffer) {
                Ok(0) => return end_of_stream(to),
                Ok(_) => {
                    // First: a container that sleeps reads nothing until it is woken.
                    meter(&buffer);
                    write_all(to, &buffer).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
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
fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "passing a reset on");
    }
}
