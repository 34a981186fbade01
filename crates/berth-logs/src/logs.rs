//! The handle: write without waiting, ask, follow. One thread owns the database.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot};

use crate::link::Recent;
use crate::store::Store;
use crate::{Entry, Level, LogError, Query, Source, Trace};

/// Entries that may wait for the disk.
const QUEUE: usize = 16 * 1024;
/// Entries that are committed at once.
const BATCH: usize = 2048;
/// Others that come within this time are committed together.
const GATHER: Duration = Duration::from_millis(20);
/// Entries that a follower may be behind.
const FOLLOWERS: usize = 8 * 1024;
/// Between two looks at what is too old or too much.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// The same when nothing is written.
const IDLE: Duration = Duration::from_secs(3600);

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogsOptions {
    /// Entries that are older go.
    pub max_age: Duration,
    /// The oldest entries go when the database is larger, in bytes.
    pub max_bytes: u64,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: 512 << 20,
        }
    }
}

enum Command {
    Write(Box<Entry>),
    /// An invocation has ended: which lines were its.
    Ended(Box<Trace>),
    Flush(oneshot::Sender<()>),
    SetExported(String, u64),
    End,
}

/// Logs of a data directory. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    options: LogsOptions,
    commands: SyncSender<Command>,
    lost: Arc<AtomicU64>,
    followers: broadcast::Sender<Arc<Entry>>,
    /// Connections for reading that nobody uses now.
    readers: Mutex<Vec<Store>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::End);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("directory", &self.inner.directory)
            .finish_non_exhaustive()
    }
}

impl Logs {
    /// Opens the logs in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// The database cannot be opened or made.
    pub fn open(directory: &Path, options: LogsOptions) -> Result<Self, LogError> {
        let mut store = Store::open(directory, options)?;
        store.prune()?;
        let (commands, received) = sync_channel(QUEUE);
        let (followers, _) = broadcast::channel(FOLLOWERS);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            store,
            followers: followers.clone(),
            lost: Arc::clone(&lost),
            recent: Recent::default(),
            pruned: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("berth-logs".to_owned())
            .spawn(move || writer.run(&received))
            .map_err(|source| LogError::Io {
                path: directory.to_owned(),
                source,
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                options,
                commands,
                lost,
                followers,
                readers: Mutex::default(),
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Keeps an entry. Never waits; what is too much is lost, and an entry says so.
    pub fn write(&self, entry: Entry) {
        self.send(Command::Write(Box::new(entry)));
    }

    /// Tells of an invocation that has ended, so that lines that it wrote are known as its own.
    pub fn ended(&self, trace: Trace) {
        self.send(Command::Ended(Box::new(trace)));
    }

    fn send(&self, command: Command) {
        if let Err(TrySendError::Full(_)) = self.inner.commands.try_send(command) {
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything that has been written is kept.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let commands = self.inner.commands.clone();
        // The queue may be full.
        let sent = tokio::task::spawn_blocking(move || commands.send(Command::Flush(done))).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = wait.await;
        }
    }

    /// The entries of a question, in the order of their time.
    ///
    /// # Errors
    /// The database fails.
    pub async fn query(&self, query: Query) -> Result<Vec<Entry>, LogError> {
        self.flush().await;
        self.read(move |store| store.query(&query)).await
    }

    /// Every entry from now on, in the order of ids. Whoever is too slow is told how many it lost.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.inner.followers.subscribe()
    }

    /// Bytes that the database uses.
    ///
    /// # Errors
    /// The database fails.
    pub async fn used_bytes(&self) -> Result<u64, LogError> {
        self.read(Store::used_bytes).await
    }

    pub(crate) async fn exported(&self, name: &str) -> Result<u64, LogError> {
        let name = name.to_owned();
        self.read(move |store| match store.exported(&name)? {
            Some(id) => Ok(id),
            // It begins now; what was before is not its.
            None => store.last(),
        })
        .await
    }

    pub(crate) async fn set_exported(&self, name: &str, id: u64) {
        let (commands, name) = (self.inner.commands.clone(), name.to_owned());
        let command = Command::SetExported(name, id);
        let _ = tokio::task::spawn_blocking(move || commands.send(command)).await;
        self.flush().await;
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            let lock = |inner: &Inner| -> Option<Store> {
                inner
                    .readers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop()
            };
            let store = match lock(&inner) {
                Some(store) => store,
                None => Store::open(&inner.directory, inner.options)?,
            };
            let result = read(&store)?;
            let mut readers = inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.push(store);
            Ok(result)
        });
        done.await.unwrap_or(Err(LogError::Ended))
    }
}

/// The thread.
struct Writer {
    store: Store,
    followers: broadcast::Sender<Arc<Entry>>,
    lost: Arc<AtomicU64>,
    recent: Recent,
    pruned: Instant,
}

impl Writer {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match commands.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.prune();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !self.work(first, commands) {
                return;
            }
            if self.pruned.elapsed() >= PRUNE_EVERY {
                self.prune();
            }
        }
    }

    /// Does a command and those that come with it; `false`: the end.
    fn work(&mut self, first: Command, commands: &Receiver<Command>) -> bool {
        let gathered = Instant::now() + GATHER;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Write(entry) => batch.push(*entry),
                Command::Ended(trace) => {
                    self.keep(&mut batch);
                    self.link(&trace);
                }
                Command::Flush(done) => {
                    self.keep(&mut batch);
                    let _ = done.send(());
                    return true;
                }
                Command::SetExported(name, id) => {
                    if let Err(error) = self.store.set_exported(&name, id) {
                        tracing::warn!(error = berth_error::chain(&error), "an export may repeat");
                    }
                }
                Command::End => {
                    self.keep(&mut batch);
                    return false;
                }
            }
            if batch.len() >= BATCH {
                break;
            }
            let left = gathered.saturating_duration_since(Instant::now());
            next = commands.recv_timeout(left).ok();
        }
        self.keep(&mut batch);
        true
    }

    fn keep(&mut self, batch: &mut Vec<Entry>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} entries are missing here: more than could be kept");
            batch.push(Entry::new("", Source::System, Level::Warn, text));
        }
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.store.insert(batch) {
            let (error, lost) = (berth_error::chain(&error), batch.len());
            tracing::warn!(error, lost, "entries of the log are lost");
            batch.clear();
            return;
        }
        for entry in batch.drain(..) {
            self.recent.add(&entry);
            if self.followers.receiver_count() > 0 {
                let _ = self.followers.send(Arc::new(entry));
            }
        }
    }

    fn link(&mut self, trace: &Trace) {
        let ids = self.recent.of(trace);
        if ids.is_empty() {
            return;
        }
        let instance = trace.instance.as_deref();
        if let Err(error) = self.store.link(&ids, &trace.invocation, instance) {
            tracing::debug!(error = berth_error::chain(&error), "lines are not linked");
        }
    }

    fn prune(&mut self) {
        self.pruned = Instant::now();
        match self.store.prune() {
            Ok(0) => {}
            Ok(gone) => tracing::debug!(gone, "old entries of the log are gone"),
            Err(error) => {
                tracing::warn!(
                    error = berth_error::chain(&error),
                    "old entries stay in the log"
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
