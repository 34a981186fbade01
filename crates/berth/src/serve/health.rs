//! How one Worker does: what its task has seen of its workerd.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Told by the app's task, read by whoever wants to know.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

/// A Worker's workerd.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Its process, while there is one.
    pub(super) pid: Option<u32>,
    /// It answers.
    pub(super) ready: bool,
    /// How often it ended by itself since the server started.
    pub(super) restarts: u64,
    /// Why what is recorded does not run.
    pub(super) problem: Option<String>,
    /// How it ended last, and when.
    pub(super) last_end: Option<(String, String)>,
}

impl State {
    /// In one word.
    pub(super) fn word(&self) -> &'static str {
        match (self.ready, self.pid, &self.problem) {
            (_, _, Some(_)) => "failed",
            (true, ..) => "running",
            (false, Some(_), None) => "starting",
            (false, None, None) if self.restarts > 0 => "crashed",
            (false, None, None) => "idle",
        }
    }
}

impl Health {
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    pub(super) fn started(&self, pid: u32) {
        self.lock().pid = Some(pid);
    }

    pub(super) fn ready(&self) {
        self.lock().ready = true;
    }

    pub(super) fn crashed(&self, status: &str) {
        let mut state = self.lock();
        state.pid = None;
        state.ready = false;
        state.restarts += 1;
        state.last_end = Some((status.to_owned(), berth_control::clock::now()));
    }

    pub(super) fn stopped(&self) {
        let mut state = self.lock();
        state.pid = None;
        state.ready = false;
    }

    pub(super) fn applied(&self, outcome: &Result<(), String>) {
        self.lock().problem = outcome.clone().err();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Fields are independent of each other.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
