//! A session's process: started, fed, listened to, ended.
//!
//! One task carries both ways until the process has ended and all its output is on its way; how it ended is
//! the last thing that a client is told. Dropping it hangs the process up.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, ExecInput, ExecIo, ExecOutput, ExecSpec, OutputStream};
use berth_jail::{ExecProcess, ExitStatus, JailError};
use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Container;
use crate::connection::Progress;
use crate::input::Input;

/// How long output of processes that the ended one left behind is still carried, as with `berth exec`.
const AFTER_EXIT: Duration = Duration::from_secs(2);
/// How long it may take to know that the container has ended, when a process was killed.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Bytes that are sent at once.
const PIECE: usize = 32 << 10;
/// Extended data of this kind is standard error.
const STDERR: u32 = 1;
/// What a shell answers for a command that is not there, and for one that cannot be executed.
const NOT_FOUND: u32 = 127;
const CANNOT_EXECUTE: u32 = 126;

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;

/// The way back to a client.
pub(crate) struct Client {
    pub(crate) channel: ChannelWriteHalf<Msg>,
    pub(crate) handle: Handle,
    /// Told when the session is over.
    pub(crate) progress: watch::Sender<Progress>,
}

/// A process that runs, or has ended.
pub(crate) struct Running {
    process: ExecProcess,
    terminal: Option<OwnedFd>,
    pub(crate) input: Arc<Input>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // With its streams: a terminal hangs up when its last one is closed.
        self.task.abort();
        self.signal(SIGHUP);
    }
}

impl Running {
    /// Starts a process and carries for it. `None`: it does not start, and the client has been told why.
    pub(crate) async fn start(
        container: Arc<dyn Container>,
        spec: ExecSpec,
        client: Client,
    ) -> Option<Self> {
        let exec = match container.exec(spec).await {
            Ok(exec) => exec,
            Err(error) => {
                client.say(&berth_error::chain(&error)).await;
                client.end(Ended::Code(failure_code(&error))).await;
                return None;
            }
        };
        let process = exec.process.clone();
        match streams(exec.io) {
            Ok((terminal, stdin, output)) => {
                let input = Arc::new(Input::default());
                let attended = Attended {
                    process: process.clone(),
                    container,
                    client,
                };
                let task = tokio::spawn(attended.carry(stdin, output, Arc::clone(&input)));
                Some(Self {
                    process,
                    terminal,
                    input,
                    task,
                })
            }
            Err(error) => {
                client.say(&format!("no streams: {error}")).await;
                client.end(Ended::Code(CANNOT_EXECUTE)).await;
                let _ = process.kill(SIGKILL);
                None
            }
        }
    }

    /// Sends a signal to the process, if it still runs.
    pub(crate) fn signal(&self, number: i32) {
        // `Ok(false)`: it has ended.
        if let Err(error) = self.process.kill(number) {
            tracing::debug!(%error, "a process of an SSH session gets no signal");
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = berth_engine::resize(terminal, rows, columns)
        {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }
}

/// The terminal, for its size; input; output.
type Streams = (Option<OwnedFd>, Option<ExecInput>, ExecOutput);

fn streams(io: ExecIo) -> io::Result<Streams> {
    let terminal = match &io {
        ExecIo::Terminal(master) => Some(master.try_clone()?),
        ExecIo::Pipes { .. } => None,
    };
    let (input, output) = io.into_streams()?;
    Ok((terminal, input, output))
}

fn failure_code(error: &EngineError) -> u32 {
    match error {
        EngineError::Exec {
            source: JailError::NotFound(_),
            ..
        } => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    }
}

/// A process that is carried for.
struct Attended {
    process: ExecProcess,
    container: Arc<dyn Container>,
    client: Client,
}

impl Attended {
    async fn carry(self, stdin: Option<ExecInput>, output: ExecOutput, input: Arc<Input>) {
        let ended = tokio::select! {
            ended = self.carry_output(output) => ended,
            // Never ends.
            never = carry_input(stdin, &input) => match never {},
        };
        input.close();
        // Otherwise the client has gone.
        if let Ok(status) = ended {
            self.tell(status).await;
        }
    }

    /// Until the streams and the process have ended; streams that processes left behind still hold are given
    /// up [`AFTER_EXIT`] later.
    async fn carry_output(&self, mut output: ExecOutput) -> Result<ExitStatus, Gone> {
        let mut buffer = vec![0; PIECE];
        let mut ended = std::pin::pin!(self.process.wait());
        let mut last: Option<(ExitStatus, Instant)> = None;
        loop {
            tokio::select! {
                read = output.read(&mut buffer) => match read {
                    Ok(Some((stream, count))) => {
                        self.client.send(stream, &buffer[..count]).await?;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "reading the output of an SSH session");
                        break;
                    }
                },
                status = &mut ended, if last.is_none() => {
                    last = Some((status, Instant::now() + AFTER_EXIT));
                }
                status = given_up(last), if last.is_some() => return Ok(status),
            }
        }
        match last {
            Some((status, _)) => Ok(status),
            None => Ok(ended.await),
        }
    }

    /// How it ended.
    async fn tell(&self, status: ExitStatus) {
        let Some(signal) = status.signal else {
            let code = u32::try_from(status.code).unwrap_or(CANNOT_EXECUTE);
            self.client.end(Ended::Code(code)).await;
            return;
        };
        let mut why = "";
        if status.oom_killed {
            why = "it was killed for want of memory";
        } else if signal == SIGKILL {
            let ended = tokio::time::timeout(KNOWN_WITHIN, self.container.ended());
            if ended.await.is_ok() {
                why = "the container has ended";
            }
        }
        if !why.is_empty() {
            self.client.say(why).await;
        }
        self.client.end(Ended::Signal(signal, why)).await;
    }
}

async fn given_up(last: Option<(ExitStatus, Instant)>) -> ExitStatus {
    match last {
        Some((status, instant)) => {
            tokio::time::sleep_until(instant).await;
            status
        }
        None => std::future::pending().await,
    }
}

/// Carries input until its end, which it passes on; then, and when the process does not read any more,
/// nothing.
async fn carry_input(stdin: Option<ExecInput>, input: &Input) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        let carried = async {
            while let Some(piece) = input.next().await {
                stdin.write_all(&piece).await?;
            }
            stdin.shutdown().await
        };
        if let Err(error) = carried.await {
            tracing::debug!(%error, "input of an SSH session ended");
        }
    }
    input.close();
    std::future::pending().await
}

/// There is no client any more.
struct Gone;

impl From<russh::Error> for Gone {
    fn from(_: russh::Error) -> Self {
        Self
    }
}

/// How a process ended.
enum Ended {
    Code(u32),
    /// A signal, and what there is to say about it.
    Signal(i32, &'static str),
}

impl Client {
    async fn send(&self, stream: OutputStream, bytes: &[u8]) -> Result<(), Gone> {
        let bytes = Bytes::copy_from_slice(bytes);
        let sent = match stream {
            OutputStream::Stdout => self.channel.data_bytes(bytes).await,
            OutputStream::Stderr => self.channel.extended_data_bytes(STDERR, bytes).await,
        };
        Ok(sent?)
    }

    /// A line of ours, on standard error.
    async fn say(&self, text: &str) {
        let line = format!("{text}\r\n");
        // Otherwise it has gone.
        let _ = self.send(OutputStream::Stderr, line.as_bytes()).await;
    }

    /// The last messages of a session. Errors mean that the client has gone.
    async fn end(&self, how: Ended) {
        let id = self.channel.id();
        let _ = self.handle.eof(id).await;
        let _ = match how {
            Ended::Code(code) => self.handle.exit_status_request(id, code).await,
            Ended::Signal(number, why) => {
                let (why, language) = (why.to_owned(), String::new());
                let signal = name(number);
                self.handle
                    .exit_signal_request(id, signal, false, why, language)
                    .await
            }
        };
        let _ = self.handle.close(id).await;
        self.progress
            .send_modify(|progress| progress.in_session = false);
    }
}

/// A signal by its number. SSH has names for some.
fn name(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@berth")),
    }
}

/// The number of a signal that a client sends.
pub(crate) fn number(signal: &Sig) -> Option<i32> {
    Some(match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => return berth_engine::signal_number(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_one_name_and_one_number() {
        for given in 1..=31 {
            match name(given) {
                Sig::Custom(text) => assert_eq!(text, format!("{given}@berth")),
                known => assert_eq!(number(&known), Some(given)),
            }
        }
        assert_eq!(number(&Sig::Custom("USR2".to_owned())), Some(12));
        assert_eq!(number(&Sig::Custom("12@berth".to_owned())), None);
    }
}
