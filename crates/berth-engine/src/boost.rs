//! More CPU for a container while it starts up.
//!
//! A small instance type has a sixteenth of a CPU, which would stretch the 50 ms that a Node program
//! needs to boot to nearly a second: exactly what a person waits for. So a container may use more
//! until it listens and has answered its first requests; from then on its own limit holds. The time
//! is bounded, whether it ever listens or not.

use std::time::Duration;

use berth_jail::{Limits, Sandbox};

/// A container that does not listen by then has its own limit.
const LONGEST: Duration = Duration::from_secs(10);

/// After the first `listen`: the first request is answered by code that runs for the first time.
const LINGER: Duration = Duration::from_secs(1);

/// The limits to start with: the container's own, or more CPU than that.
pub(crate) fn startup_limits(own: Limits, startup_cpu_milli: Option<u32>) -> Limits {
    let cpu_milli = match (own.cpu_milli, startup_cpu_milli) {
        (Some(own), Some(startup)) => Some(own.max(startup)),
        (own, _) => own,
    };
    Limits { cpu_milli, ..own }
}

/// Waits for the end of the start-up and lets the container's own limit hold from then on.
pub(crate) async fn settle(sandbox: Sandbox, own: Limits) {
    let mut listening = sandbox.listening();
    let started = async {
        let listens = listening.wait_for(|ports| !ports.is_empty());
        // Whether it listens, or the time is over, or nobody can tell any more.
        let _ = tokio::time::timeout(LONGEST, listens).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = started => {}
        _ = sandbox.wait() => return,
    }
    if let Some(milli) = own.cpu_milli
        && let Err(error) = sandbox.limit_cpu(milli)
    {
        tracing::debug!(%error, "a container ended while it started up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_never_has_less_than_the_container_s_own_limit() {
        let limits = |cpu_milli| Limits {
            cpu_milli,
            pids: Some(7),
            ..Limits::default()
        };
        let started = |own, startup| startup_limits(limits(own), startup).cpu_milli;
        assert_eq!(started(Some(63), Some(1000)), Some(1000));
        assert_eq!(started(Some(4000), Some(1000)), Some(4000));
        assert_eq!(started(Some(63), None), Some(63));
        assert_eq!(started(None, Some(1000)), None);
        assert_eq!(startup_limits(limits(Some(63)), Some(1000)).pids, Some(7));
    }
}
