//! Connections into containers: made, or held for what is about to listen.
//!
//! While a container gives way to another one of the same name (a rollout), whoever connects waits for that
//! one: the former takes no new connections once it was told to end, and a connection that it has accepted
//! and not looked at yet breaks. A program that takes its time to end, or was not told how, gets connections
//! again after [`ENDING`].
//!
//! Invariant: nothing here starts a container. Who waits for one that nobody starts is refused.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Engine, Tunnel};
use crate::EngineError;
use crate::hold::{self, Liveness};

/// What a container that gives way has on the way may take this long before it is told to end.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Most programs that are told to end have ended after this.
const ENDING: Duration = Duration::from_secs(4);
/// Longest wait for another container, of a connection that the former one does not take.
const SUCCESSION: Duration = Duration::from_secs(20);
/// How long somebody may take to start the next one when the former has ended.
const START: Duration = Duration::from_secs(4);

/// What became of a wait for another container.
enum Waited {
    /// It has been started.
    Started,
    /// The former one lives on.
    Former,
    /// Nobody starts another.
    Nobody,
}

impl Engine {
    /// Connects to a port of a running container. While it starts up, holds until the port listens:
    /// see `hold.rs`. While it gives way to another one of its name, holds for that. Dropping the future ends the hold.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::NotListening`], [`EngineError::Connect`].
    pub async fn connect(&self, name: &str, port: u16) -> Result<Tunnel, EngineError> {
        let latest = Instant::now() + SUCCESSION;
        loop {
            let waited = match self.table.retired(name) {
                Some(since) => self.successor(name, since + ENDING, latest).await,
                None => Waited::Started,
            };
            if matches!(waited, Waited::Nobody) {
                return Err(EngineError::NotRunning(name.to_owned()));
            }
            let connected = self.connect_now(name, port).await;
            let refused = matches!(
                connected,
                Err(EngineError::NotListening { .. }
                    | EngineError::NotRunning(_)
                    | EngineError::NoSuchContainer(_))
            );
            // It may have been told to end, or have ended, while this one was on its way.
            if !refused || self.table.retired(name).is_none() || Instant::now() >= latest {
                return connected;
            }
            if matches!(waited, Waited::Former) {
                // It takes no more connections: there is only the next one to wait for.
                if let Waited::Started = self.successor(name, latest, latest).await {
                    continue;
                }
                return connected;
            }
        }
    }

    /// Waits for another container of a name, at most until `former` for as long as the former one lives.
    async fn successor(&self, name: &str, former: Instant, latest: Instant) -> Waited {
        let mut claims = self.table.claims();
        let mut down_since = None;
        loop {
            claims.mark_unchanged();
            if self.table.retired(name).is_none() {
                return self.started(name, latest).await;
            }
            let handle = self.table.find(name);
            let liveness = handle.map(|handle| handle.shared().liveness.subscribe());
            let up = liveness
                .as_ref()
                .is_some_and(|liveness| !matches!(*liveness.borrow(), Liveness::Down));
            let until = match up {
                true if Instant::now() >= former => return Waited::Former,
                true => former.min(latest),
                false => *down_since.get_or_insert_with(|| Instant::now() + START),
            };
            if Instant::now() >= until {
                return Waited::Nobody;
            }
            let ended = async {
                match liveness {
                    Some(mut liveness) if up => drop(liveness.changed().await),
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = claims.changed() => if changed.is_err() {
                    return Waited::Nobody;
                },
                () = ended => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Waits until a container that has been made is started.
    async fn started(&self, name: &str, latest: Instant) -> Waited {
        let Some(handle) = self.table.find(name) else {
            return Waited::Nobody;
        };
        let mut liveness = handle.shared().liveness.subscribe();
        let latest = latest.min(Instant::now() + START);
        let begun = liveness.wait_for(|now| !matches!(now, Liveness::Down));
        // Whatever came of it is found out by connecting.
        let _ = timeout_at(latest, begun).await;
        Waited::Started
    }

    /// Connects to the container that has the name now.
    async fn connect_now(&self, name: &str, port: u16) -> Result<Tunnel, EngineError> {
        let handle = self.find(name)?;
        let shared = handle.shared();
        let Some(network) = shared.network.get() else {
            return Err(EngineError::NotRunning(name.to_owned()));
        };
        let liveness = shared.liveness.subscribe();
        // From here on it does not fall asleep any more.
        let using = shared.activity.begin();
        if shared.activity.is_asleep() {
            // One that has ended meanwhile is found out by connecting.
            let _ = handle.wake().await;
        }
        let reach = &shared.reach;
        if port != hold::FALLBACK_PORT {
            reach.wanted.store(true, Ordering::Relaxed);
        }
        let connected = hold::connect(name, port, liveness, || network.connect(port)).await;
        if port != hold::FALLBACK_PORT {
            let refused = matches!(connected, Err(EngineError::NotListening { .. }));
            reach.refused.store(refused, Ordering::Relaxed);
        }
        let stream = connected?;
        let traffic = using.connected();
        Ok(Tunnel { stream, traffic })
    }
}
