//! Streams of a process that was started in a container, whether it has pipes or a terminal.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWrite};

use crate::pty::Pty;
use crate::{ExecIo, Output, OutputStream};

/// Standard input of a process; shutting it down is its end of file, unless it is a terminal.
pub type ExecInput = Box<dyn AsyncWrite + Send + Unpin>;

/// What a process writes.
#[derive(Debug)]
pub struct ExecOutput(Written);

#[derive(Debug)]
enum Written {
    /// To its standard output and its standard error.
    Pipes(Output),
    /// To its terminal.
    Terminal(Pty),
}

impl ExecOutput {
    /// The next bytes and whose they are, which is standard output for a terminal; `None` at the end.
    /// Cancel-safe.
    ///
    /// # Errors
    /// What the kernel said to a read.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OutputStream, usize)>> {
        match &mut self.0 {
            Written::Pipes(output) => output.read(buffer).await,
            Written::Terminal(pty) => {
                let count = pty.read(buffer).await?;
                Ok((count > 0).then_some((OutputStream::Stdout, count)))
            }
        }
    }
}

impl ExecIo {
    /// As asynchronous streams. Needs a runtime.
    ///
    /// # Errors
    /// What the kernel said to making them non-blocking.
    pub fn into_streams(self) -> io::Result<(Option<ExecInput>, ExecOutput)> {
        Ok(match self {
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                let stdin = stdin.map(|pipe| Box::new(pipe) as ExecInput);
                let (stdout, stderr) =
                    (stdout.into_nonblocking_fd()?, stderr.into_nonblocking_fd()?);
                let output = Output::new(stdout, stderr)?;
                (stdin, ExecOutput(Written::Pipes(output)))
            }
            Self::Terminal(master) => {
                let pty = Pty::new(master)?;
                let input = Box::new(pty.clone()) as ExecInput;
                (Some(input), ExecOutput(Written::Terminal(pty)))
            }
        })
    }
}
