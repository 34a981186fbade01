//! Connecting to a port that may not listen *yet*: hold the connection instead of refusing it.
//!
//! The callers poll: the `@cloudflare/containers` class (0.3.7) sleeps 300 ms after each refused
//! ping, and that sleep is what users feel as the cold start. So a refused connection to a container
//! that is starting up is held until the port listens. Nothing here polls: the jail reports every
//! `listen` inside the sandbox, the actor reports start and exit.
//!
//! ```text
//! not running ───────────────────────────────▶ NotRunning
//! starting ──── wait for the process ──┐
//! running ──────────────────────────── dial ──ok──▶ connected
//!                                        │ refused
//!          port 33, or too old ──────────┼──▶ NotListening
//!          listened before ── a few quick retries ──▶ connected / NotListening
//!          never listened ── hold: port listens ──▶ quick retries
//!                                  exits ─────────▶ NotRunning
//!                                  deadline ── dial once more ──▶ connected / NotListening
//! ```
//!
//! Runs in the caller's task: a caller that goes away (drops the future) ends its hold, and nothing
//! else knows of it. Any number of callers may hold for one port; all of them wake.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::EngineError;

/// Longest hold of one connection. The class gives a ping 5 s, workerd's own tests expect an answer
/// within 10 s; a refusal must arrive before the caller gives up, or its polling stops working.
pub(crate) const MAX_HOLD: Duration = Duration::from_secs(4);

/// Age of a container (since its process was exec'ed) from which nothing is held any more. The class
/// counts tries, not time (27 for the instance, then 67 for the ports, 300 ms apart): if every try
/// were held for long, its timeouts of 8 s and 20 s would become minutes.
pub(crate) const START_UP: Duration = Duration::from_secs(8);

/// The class pings this port of a container that has no port configured
/// (`FALLBACK_PORT_TO_CHECK`), only to see that the container runs; nothing ever listens there, so it
/// must be answered at once.
pub(crate) const FALLBACK_PORT: u16 = 33;

/// Pauses between dials to a port that has listened but refuses: the report of a `listen` may
/// precede its effect by a moment. If the program has closed the port again this is all it gets.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];

/// Whether a container's first process lives, as the actor tells it.
#[derive(Clone, Debug)]
pub(crate) enum Liveness {
    /// Not started, ended, or being removed.
    Down,
    /// Its process is being made.
    Starting,
    /// Its process lives.
    Up(Up),
}

/// A living first process.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    /// When it was exec'ed.
    pub(crate) since: Instant,
    /// Ports on which something in the container has called `listen` so far. Only ever grows.
    pub(crate) listening: watch::Receiver<BTreeSet<u16>>,
}

/// Connects to `port` of container `name`, holding as the module says. `dial` makes one attempt.
///
/// # Errors
/// [`EngineError::NotRunning`], [`EngineError::NotListening`], or [`EngineError::Connect`] for
/// anything but a refusal.
pub(crate) async fn connect<S, D, F>(
    name: &str,
    port: u16,
    mut liveness: watch::Receiver<Liveness>,
    dial: D,
) -> Result<S, EngineError>
where
    D: Fn() -> F,
    F: Future<Output = io::Result<S>>,
{
    let latest = Instant::now() + MAX_HOLD;
    let up = wait_for_start(name, port, &mut liveness, latest).await?;
    let attempt = Attempt {
        name,
        port,
        liveness: &liveness,
        dial: &dial,
    };
    if let Some(stream) = attempt.once().await? {
        return Ok(stream);
    }
    let deadline = latest.min(up.since + START_UP);
    if port == FALLBACK_PORT || Instant::now() >= deadline {
        return Err(attempt.refused());
    }
    if listens_in_time(port, up.listening, liveness.clone(), deadline).await {
        attempt.few_times().await
    } else {
        attempt.once().await?.ok_or_else(|| attempt.refused())
    }
}

async fn wait_for_start(
    name: &str,
    port: u16,
    liveness: &mut watch::Receiver<Liveness>,
    latest: Instant,
) -> Result<Up, EngineError> {
    loop {
        match &*liveness.borrow_and_update() {
            Liveness::Up(up) => return Ok(up.clone()),
            Liveness::Down => return Err(EngineError::NotRunning(name.to_owned())),
            Liveness::Starting => {}
        }
        match timeout_at(latest, liveness.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(EngineError::NotRunning(name.to_owned())),
            Err(_) => return Err(EngineError::NotListening { port }),
        }
    }
}

/// Waits until the port listens; `false` if the deadline passes or the process ends first.
async fn listens_in_time(
    port: u16,
    mut listening: watch::Receiver<BTreeSet<u16>>,
    mut liveness: watch::Receiver<Liveness>,
    deadline: Instant,
) -> bool {
    tokio::select! {
        found = listening.wait_for(|ports| ports.contains(&port)) => found.is_ok(),
        // Whatever follows a living process, it is the end of this one.
        _ = liveness.changed() => false,
        () = tokio::time::sleep_until(deadline) => false,
    }
}

struct Attempt<'a, D> {
    name: &'a str,
    port: u16,
    liveness: &'a watch::Receiver<Liveness>,
    dial: &'a D,
}

impl<S, D, F> Attempt<'_, D>
where
    D: Fn() -> F,
    F: Future<Output = io::Result<S>>,
{
    /// One dial; `None` is a refusal.
    async fn once(&self) -> Result<Option<S>, EngineError> {
        match (self.dial)().await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(_) if !self.is_up() => Err(EngineError::NotRunning(self.name.to_owned())),
            Err(source) => Err(EngineError::Connect {
                port: self.port,
                source,
            }),
        }
    }

    async fn few_times(&self) -> Result<S, EngineError> {
        for pause in RETRIES {
            if let Some(stream) = self.once().await? {
                return Ok(stream);
            }
            tokio::time::sleep(pause).await;
        }
        self.once().await?.ok_or_else(|| self.refused())
    }

    fn refused(&self) -> EngineError {
        if self.is_up() {
            EngineError::NotListening { port: self.port }
        } else {
            EngineError::NotRunning(self.name.to_owned())
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.liveness.borrow(), Liveness::Up(_))
    }
}

#[cfg(test)]
mod tests;
