//! The names and ids of the containers that exist, and the way to their actors.
//!
//! Owned by the engine. A name is taken before anything of a container is made ([`Table::claim`])
//! and freed when the actor drops its [`Lease`], which it does after everything is gone and before
//! it answers the remover. The lease also frees the name if the actor should panic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::EngineError;
use crate::actor::Handle;

/// How long a name is kept that nobody has taken again: longer than the last one may take to end.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// All containers of an engine, by name, in the order of their creation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
    /// Counts the names that were taken.
    claims: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: IndexMap<String, Handle>,
    closed: bool,
    /// Names that another container is to take, and since when.
    retired: HashMap<String, Instant>,
}

/// A taken name; free again on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    table: Weak<Table>,
    name: String,
    id: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        let mut inner = table.lock();
        if inner
            .by_name
            .get(&self.name)
            .is_some_and(|h| h.id() == self.id)
        {
            inner.by_name.shift_remove(&self.name);
        }
    }
}

impl Table {
    /// Takes a name for a container whose handle is `handle`.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`]; [`EngineError::ShuttingDown`] after [`Table::close`].
    pub(crate) fn claim(
        self: &Arc<Self>,
        name: &str,
        handle: &Handle,
    ) -> Result<Lease, EngineError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(EngineError::ShuttingDown);
        }
        if inner.by_name.contains_key(name) {
            return Err(EngineError::NameInUse(name.to_owned()));
        }
        inner.retired.remove(name);
        inner.by_name.insert(name.to_owned(), handle.clone());
        drop(inner);
        self.claims.send_modify(|count| *count += 1);
        Ok(Lease {
            table: Arc::downgrade(self),
            name: name.to_owned(),
            id: handle.id().to_owned(),
        })
    }

    /// By name (also with Docker's leading slash), id, or id prefix that fits only one.
    pub(crate) fn find(&self, key: &str) -> Option<Handle> {
        let key = key.strip_prefix('/').unwrap_or(key);
        let inner = self.lock();
        if let Some(handle) = inner.by_name.get(key) {
            return Some(handle.clone());
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut fitting = inner.by_name.values().filter(|h| h.id().starts_with(key));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    /// The container of this name is to give way to another one.
    pub(crate) fn retire(&self, name: &str) {
        let mut inner = self.lock();
        inner
            .retired
            .retain(|_, since| since.elapsed() < REMEMBERED);
        inner.retired.insert(name.to_owned(), Instant::now());
    }

    /// Since when a name waits to be taken by another container, if it does.
    pub(crate) fn retired(&self, name: &str) -> Option<Instant> {
        self.lock().retired.get(name).copied()
    }

    /// Changes whenever a name is taken.
    pub(crate) fn claims(&self) -> watch::Receiver<u64> {
        self.claims.subscribe()
    }

    pub(crate) fn all(&self) -> Vec<Handle> {
        self.lock().by_name.values().cloned().collect()
    }

    /// No name can be taken any more. Returns who is left.
    pub(crate) fn close(&self) -> Vec<Handle> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.by_name.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(id: &str) -> Handle {
        Handle::new(id.to_owned(), "n".to_owned()).0
    }

    #[test]
    fn a_name_is_taken_once_and_free_when_the_lease_ends() {
        let table = Arc::new(Table::default());
        let lease = table.claim("a", &handle("01")).unwrap();
        assert!(matches!(
            table.claim("a", &handle("02")),
            Err(EngineError::NameInUse(name)) if name == "a"
        ));
        drop(lease);
        assert!(table.find("a").is_none());
        let _lease = table.claim("a", &handle("02")).unwrap();
        assert_eq!(table.find("/a").unwrap().id(), "02");
    }

    #[test]
    fn ids_are_found_by_unambiguous_prefix_and_names_win() {
        let table = Arc::new(Table::default());
        let _leases = [
            table.claim("x", &handle("abc1")).unwrap(),
            table.claim("y", &handle("abd2")).unwrap(),
            table.claim("ab", &handle("ffff")).unwrap(),
        ];
        assert_eq!(table.find("abc").unwrap().id(), "abc1");
        assert_eq!(table.find("abd2").unwrap().id(), "abd2");
        assert_eq!(table.find("ab").unwrap().id(), "ffff");
        assert!(table.find("a").is_none());
        assert!(table.find("").is_none());
    }

    #[test]
    fn a_closed_table_takes_nobody() {
        let table = Arc::new(Table::default());
        let _lease = table.claim("a", &handle("01")).unwrap();
        assert_eq!(table.close().len(), 1);
        assert!(matches!(
            table.claim("b", &handle("02")),
            Err(EngineError::ShuttingDown)
        ));
    }
}
