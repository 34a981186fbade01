//! Threads that enter network namespaces, one job at a time.
//!
//! A namespace is a property of a thread, so tokio's workers never change theirs: two threads of
//! the process, started on first use and never ended, do it. One makes namespaces (milliseconds),
//! the other opens sockets in them (microseconds) and so never waits for the first.
//!
//! Invariant: between jobs a thread is in the namespace it was born in, so that it keeps no
//! container's namespace alive.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{LazyLock, mpsc};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// One such thread.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
}

/// Makes namespaces.
pub(crate) static MAKER: LazyLock<io::Result<Worker>> =
    LazyLock::new(|| Worker::spawn("berth-netns"));

/// Opens sockets inside namespaces.
pub(crate) static OPENER: LazyLock<io::Result<Worker>> =
    LazyLock::new(|| Worker::spawn("berth-sockets"));

/// The worker, or why it could not be started.
pub(crate) fn get(worker: &'static LazyLock<io::Result<Worker>>) -> io::Result<&'static Worker> {
    worker
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

impl Worker {
    fn spawn(name: &str) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let home = current_namespace();
                // The starter waits for this.
                let _ = ready.send(home.as_ref().map(|_| ()).map_err(io::Error::kind));
                let Ok(home) = home else { return };
                for job in queue {
                    job();
                    if let Err(error) = enter(home.as_fd()) {
                        tracing::error!(%error, "a thread could not leave a network namespace");
                    }
                }
            })?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self { jobs }),
            Ok(Err(kind)) => Err(kind.into()),
            Err(_) => Err(gone()),
        }
    }

    /// Has `job` run on the thread, without waiting for it.
    pub(crate) fn start(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.jobs.send(Box::new(job)).map_err(|_| gone())
    }

    /// Runs `job` on the thread. The job may change the thread's namespace.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = oneshot::channel();
        self.start(move || {
            // Nobody waits any more when the caller was cancelled.
            let _ = answer.send(job());
        })?;
        result.await.map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread has ended")
}

/// The calling thread's network namespace.
pub(crate) fn current_namespace() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    Ok(())
}
