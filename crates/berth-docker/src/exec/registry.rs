//! The exec objects of a server.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crate::api::{lock, random_id};
use crate::body::CreateExec;
use crate::error::ApiError;

/// Ended execs that can still be inspected.
const MAX_ENDED: usize = 1024;

/// Where an exec is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Starting,
    Running {
        pid: u32,
    },
    /// `pid`: what it was, or 0 if it never ran. workerd 1.20261117.1 takes it from its first look,
    /// which a quick process does not live to see.
    Ended {
        code: i32,
        pid: u32,
    },
}

/// One exec.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) container_id: String,
    pub(crate) container_name: String,
    pub(crate) command: Vec<String>,
    pub(crate) body: CreateExec,
    state: Mutex<State>,
    /// The master of its terminal while it runs.
    terminal: Mutex<Option<OwnedFd>>,
}

impl Instance {
    pub(crate) fn state(&self) -> State {
        *lock(&self.state)
    }

    /// Claims the only start.
    pub(crate) fn begin(&self) -> Result<(), ApiError> {
        let mut state = lock(&self.state);
        if *state != State::Created {
            return Err(ApiError::conflict(format!(
                "exec instance {} has been started already",
                self.id
            )));
        }
        *state = State::Starting;
        Ok(())
    }

    pub(crate) fn running(&self, pid: u32, terminal: Option<OwnedFd>) {
        *lock(&self.terminal) = terminal;
        *lock(&self.state) = State::Running { pid };
    }

    /// The first word on how it ended counts.
    pub(crate) fn ended(&self, code: i32) {
        lock(&self.terminal).take();
        let mut state = lock(&self.state);
        let pid = match *state {
            State::Ended { .. } => return,
            State::Running { pid } => pid,
            State::Created | State::Starting => 0,
        };
        *state = State::Ended { code, pid };
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<(), ApiError> {
        let terminal = lock(&self.terminal);
        let master = terminal.as_ref().ok_or_else(|| {
            ApiError::conflict(format!("exec instance {} has no running terminal", self.id))
        })?;
        berth_engine::resize(master, rows, columns)
            .map_err(|error| ApiError::internal(format!("resizing the terminal: {error}")))
    }
}

/// All execs, by id.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<String, Arc<Instance>>,
    /// Ids, oldest first.
    order: VecDeque<String>,
}

impl Execs {
    pub(crate) fn create(
        &self,
        container_id: String,
        container_name: String,
        command: Vec<String>,
        body: CreateExec,
    ) -> Arc<Instance> {
        let instance = Arc::new(Instance {
            id: random_id(),
            container_id,
            container_name,
            command,
            body,
            state: Mutex::new(State::Created),
            terminal: Mutex::new(None),
        });
        let mut inner = lock(&self.inner);
        inner.drop_oldest_ended();
        inner.order.push_back(instance.id.clone());
        inner.by_id.insert(instance.id.clone(), instance.clone());
        instance
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Instance>> {
        lock(&self.inner).by_id.get(id).cloned()
    }

    /// Drops the execs of a removed container.
    pub(crate) fn forget(&self, container_id: &str) {
        let mut inner = lock(&self.inner);
        let Inner { by_id, order } = &mut *inner;
        by_id.retain(|_, instance| instance.container_id != container_id);
        order.retain(|id| by_id.contains_key(id));
    }
}

impl Inner {
    /// Keeps the number of objects bounded; running ones are never dropped.
    fn drop_oldest_ended(&mut self) {
        if self.order.len() < MAX_ENDED {
            return;
        }
        let ended = self.order.iter().position(|id| {
            self.by_id
                .get(id)
                .is_none_or(|instance| matches!(instance.state(), State::Ended { .. }))
        });
        if let Some(id) = ended.and_then(|position| self.order.remove(position)) {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(execs: &Execs, container: &str) -> Arc<Instance> {
        execs.create(
            container.to_owned(),
            container.to_owned(),
            vec!["true".to_owned()],
            CreateExec::default(),
        )
    }

    #[test]
    fn an_exec_starts_once_and_keeps_its_first_exit_code() {
        let execs = Execs::default();
        let instance = create(&execs, "a");
        instance.begin().unwrap();
        assert_eq!(
            instance.begin().unwrap_err().status,
            http::StatusCode::CONFLICT
        );
        instance.running(7, None);
        assert_eq!(instance.state(), State::Running { pid: 7 });
        assert!(instance.resize(1, 1).is_err());
        instance.ended(3);
        instance.ended(0);
        assert_eq!(instance.state(), State::Ended { code: 3, pid: 7 });
    }

    #[test]
    fn execs_die_with_their_container_and_ended_ones_with_age() {
        let execs = Execs::default();
        let kept = create(&execs, "running");
        let gone = create(&execs, "removed");
        execs.forget("removed");
        assert!(execs.get(&gone.id).is_none());
        let first = create(&execs, "busy");
        first.ended(0);
        for _ in 0..MAX_ENDED {
            create(&execs, "busy").ended(0);
        }
        assert!(execs.get(&first.id).is_none());
        assert!(execs.get(&kept.id).is_some());
        assert_eq!(lock(&execs.inner).by_id.len(), MAX_ENDED);
    }
}
