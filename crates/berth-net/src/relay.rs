//! Copying between two connections until both directions have ended.
//!
//! Half-close passes through: the end of one direction shuts down writing on the other side and
//! leaves the reverse direction open. A reset passes through: it resets the other side. An idle
//! relay holds no buffer.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::usage::{Counters, add};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;
/// Buffers kept per thread for the next reader.
const SPARE: usize = 4;
/// Chunks after which a busy direction lets others run.
const TURN: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that goes back to its thread's spares.
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Self {
        let spare = BUFFERS.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // At the end of a thread its spares may be gone already.
        let _ = BUFFERS.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}

/// Carries `inside`, a connection of the container, over `outside`.
///
/// Whatever goes wrong on one side resets both.
pub(crate) async fn relay(inside: TcpStream, outside: TcpStream, counters: &Counters) {
    let result = tokio::try_join!(
        pump(&inside, &outside, counters.egress()),
        pump(&outside, &inside, counters.ingress()),
    );
    if let Err(error) = result {
        tracing::trace!(%error, "a relayed connection broke");
        reset(inside);
        reset(outside);
    }
}

/// Closes a connection by a reset, which the peer sees as an error rather than as an end.
pub(crate) fn reset(connection: TcpStream) {
    // Where it fails the connection is closed in the ordinary way.
    let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
    drop(connection);
}

/// Copies one direction until its end, then passes the end on.
async fn pump(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = Buffer::take();
        for _ in 0..TURN {
            match from.try_read(&mut buffer.0) {
                Ok(0) => return end(to),
                Ok(length) => {
                    write_all(to, &buffer.0[..length]).await?;
                    add(count, length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Shuts writing down. A peer that has closed meanwhile is no error.
fn end(to: &TcpStream) -> io::Result<()> {
    match SockRef::from(to).shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

/// Writes all of `bytes`.
pub(crate) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
