//! The hijacked connection of an exec: client's bytes to standard input, output to the client.
//!
//! Rules: input ends when the client half-closes, output goes on; the connection closes after the
//! process has ended *and* all its output was sent; a client that does not read blocks the process
//! and nobody else.

use std::io;
use std::time::Duration;

use berth_engine::{ExecInput, ExecIo, ExecOutput, OutputStream};
use berth_jail::ExecProcess;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::Instant;

use super::registry::Instance;
use crate::frame::{HEADER_LEN, MAX_PAYLOAD, StreamKind, header};

/// How long output of processes that the ended one left behind is still carried; Docker's value.
const AFTER_EXIT: Duration = Duration::from_secs(2);

/// How long a client may take to close after the last byte.
const CLIENT_CLOSE: Duration = Duration::from_secs(5);

/// What a connection carries.
pub(crate) enum Session {
    /// A running process.
    Process(Streams),
    /// The reason why there is none.
    Failed(String),
}

/// A process and its streams.
pub(crate) struct Streams {
    process: ExecProcess,
    stdin: Option<ExecInput>,
    written: ExecOutput,
}

impl Streams {
    pub(crate) fn new(process: ExecProcess, io: ExecIo) -> io::Result<Self> {
        let (stdin, written) = io.into_streams()?;
        Ok(Self {
            process,
            stdin,
            written,
        })
    }
}

/// Serves an attached exec until its end.
pub(crate) async fn serve(upgrade: OnUpgrade, session: Session, instance: &Instance) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => Some(upgraded),
        Err(error) => {
            tracing::debug!(%error, "the client of an exec left before it was connected");
            None
        }
    };
    let parts = upgraded.and_then(|u| u.downcast::<TokioIo<UnixStream>>().ok());
    let Some(Parts { io, read_buf, .. }) = parts else {
        if let Session::Process(streams) = session {
            discard(streams, instance).await;
        }
        return;
    };
    let (mut client, mut sink) = io.into_inner().into_split();
    let framed = !instance.body.tty;
    let served = match session {
        Session::Process(streams) => {
            let Streams {
                process,
                stdin,
                written,
            } = streams;
            let output = carry_output(written, framed, &mut sink, &process, instance);
            tokio::select! {
                served = output => served,
                // Never ends: whatever else the client sends is thrown away.
                never = carry_input(&read_buf, &mut client, stdin) => match never {},
            }
        }
        Session::Failed(reason) => {
            write_output(&mut sink, framed, StreamKind::Stdout, reason.as_bytes()).await
        }
    };
    if let Err(error) = served.and(sink.shutdown().await) {
        tracing::debug!(%error, "the client of an exec left");
        return;
    }
    // A unix socket closed with unread input would give the client a reset after its last bytes.
    if tokio::time::timeout(CLIENT_CLOSE, throw_away(&mut client))
        .await
        .is_err()
    {
        tracing::debug!("the client of an ended exec keeps its connection");
    }
}

/// Lets a process run whose output nobody wants.
pub(crate) async fn discard(streams: Streams, instance: &Instance) {
    let Streams {
        process,
        stdin,
        written,
    } = streams;
    drop(stdin);
    let mut sink = tokio::io::sink();
    if let Err(error) = carry_output(written, false, &mut sink, &process, instance).await {
        tracing::debug!(%error, "reading the output of a detached exec");
    }
}

/// Carries output until the streams and the process have ended; streams that processes left behind
/// still hold are given up [`AFTER_EXIT`] later. The exit code is recorded before this returns.
async fn carry_output<W: AsyncWrite + Unpin>(
    mut written: ExecOutput,
    framed: bool,
    sink: &mut W,
    process: &ExecProcess,
    instance: &Instance,
) -> io::Result<()> {
    let mut buffer = vec![0; HEADER_LEN + MAX_PAYLOAD];
    let mut ended = std::pin::pin!(process.wait());
    let mut give_up = None;
    loop {
        tokio::select! {
            read = written.read(&mut buffer[HEADER_LEN..]) => match read? {
                None => break,
                Some((stream, count)) => {
                    send(sink, framed, kind(stream), &mut buffer, count).await?;
                }
            },
            status = &mut ended, if give_up.is_none() => {
                instance.ended(status.code);
                give_up = Some(Instant::now() + AFTER_EXIT);
            }
            () = until(give_up), if give_up.is_some() => return Ok(()),
        }
    }
    if give_up.is_none() {
        instance.ended(ended.await.code);
    }
    Ok(())
}

fn kind(stream: OutputStream) -> StreamKind {
    match stream {
        OutputStream::Stdout => StreamKind::Stdout,
        OutputStream::Stderr => StreamKind::Stderr,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Sends `count` bytes that lie behind the space for the header.
async fn send<W: AsyncWrite + Unpin>(
    sink: &mut W,
    framed: bool,
    stream: StreamKind,
    buffer: &mut [u8],
    count: usize,
) -> io::Result<()> {
    if framed {
        buffer[..HEADER_LEN].copy_from_slice(&header(stream, count));
        sink.write_all(&buffer[..HEADER_LEN + count]).await
    } else {
        sink.write_all(&buffer[HEADER_LEN..HEADER_LEN + count])
            .await
    }
}

async fn write_output<W: AsyncWrite + Unpin>(
    sink: &mut W,
    framed: bool,
    stream: StreamKind,
    bytes: &[u8],
) -> io::Result<()> {
    if framed {
        sink.write_all(&header(stream, bytes.len())).await?;
    }
    sink.write_all(bytes).await
}

/// Carries input until the client's end of stream, which it passes on; then, and when the process
/// does not read any more, reads on so that the client never blocks.
async fn carry_input(
    early: &[u8],
    client: &mut OwnedReadHalf,
    stdin: Option<ExecInput>,
) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        let carried = async {
            stdin.write_all(early).await?;
            tokio::io::copy(client, &mut stdin).await?;
            stdin.shutdown().await
        };
        if let Err(error) = carried.await {
            tracing::debug!(%error, "input of an exec ended");
        }
    }
    throw_away(client).await;
    std::future::pending().await
}

async fn throw_away(client: &mut OwnedReadHalf) {
    if let Err(error) = tokio::io::copy(client, &mut tokio::io::sink()).await {
        tracing::trace!(%error, "reading what nobody wants");
    }
}
