//! Tells a running workerd whether somebody wants to know what its Worker does.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::Upstream;

/// What of a Worker's traces somebody wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traces {
    /// Nothing.
    #[default]
    Off,
    /// As JSON has them.
    Told,
    /// Also, in a field `extras`, what a Worker may ask of them: requests as they came, messages of diagnostics
    /// channels as they were.
    Whole,
}

impl Traces {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "0",
            Self::Told => "1",
            Self::Whole => "2",
        }
    }
}

/// workerd answers at once, unless its Worker keeps it busy.
const LIMIT: Duration = Duration::from_secs(2);

/// Switches the traces of one workerd process on and off. Another process begins with them off.
#[derive(Clone, Debug)]
pub struct TraceSwitch(Upstream);

impl TraceSwitch {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }

    /// Says what somebody wants to know.
    ///
    /// # Errors
    /// workerd does not answer, or has ended.
    pub async fn set(&self, wanted: Traces) -> io::Result<()> {
        let said = async {
            match &self.0 {
                Upstream::Unix(path) => say(UnixStream::connect(path).await?, wanted).await,
                Upstream::Tcp(address) => say(TcpStream::connect(address).await?, wanted).await,
            }
        };
        let said = tokio::time::timeout(LIMIT, said).await;
        said.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, wanted: Traces) -> io::Result<()> {
    let request = format!(
        "PUT / HTTP/1.1\r\nHost: traces\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{}",
        wanted.word()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    Err(io::Error::other(format!("workerd answered `{text}`")))
}
