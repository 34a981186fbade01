//! The signals that end a long-running command.

use berth_error::{Report, ResultExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on these signals do not end the process.
    pub(crate) fn listen() -> Result<Self, Report> {
        let hangup = signal(SignalKind::hangup()).context("could not listen to signals")?;
        Ok(Self {
            hangup: Some(hangup),
            ..Self::but_hangup()?
        })
    }

    /// The same without SIGHUP, which means something else to a service.
    pub(crate) fn but_hangup() -> Result<Self, Report> {
        let listen = |kind| signal(kind).context("could not listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) {
        self.next_is_term().await;
    }

    /// The next signal; whether it is SIGTERM.
    pub(crate) async fn next_is_term(&mut self) -> bool {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => true,
            _ = hangup => false,
        }
    }

    /// The second signal from now on.
    pub(crate) async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}
