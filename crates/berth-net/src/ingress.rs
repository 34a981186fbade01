//! Connections from outside into a container, by sockets that belong to its namespace.
//!
//! A socket stays in the namespace it was opened in, whoever uses it. A few are opened ahead, so
//! that connecting does not wait for the thread that opens them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::worker;

/// Sockets kept ahead: each is a descriptor for as long as the container lives.
const AHEAD: usize = 4;

/// The way into one namespace.
#[derive(Debug)]
pub(crate) struct Ingress {
    namespace: Arc<OwnedFd>,
    /// `None` once closed.
    ahead: Arc<Mutex<Option<Vec<Socket>>>>,
}

impl Ingress {
    pub(crate) fn new(namespace: Arc<OwnedFd>, sockets: Vec<Socket>) -> Self {
        Self {
            namespace,
            ahead: Arc::new(Mutex::new(Some(sockets))),
        }
    }

    /// Connects to a port of the namespace's loopback address.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (ahead, left) = lock(&self.ahead)
            .as_mut()
            .map_or((None, 0), |own| (own.pop(), own.len()));
        let socket = match ahead {
            Some(socket) => socket,
            None => self.open().await?,
        };
        if left < AHEAD / 2 {
            self.refill()?;
        }
        socket.set_tcp_nodelay(true)?;
        TcpSocket::from_std_stream(socket.into())
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .await
    }

    /// Forgets the sockets kept ahead and keeps no more.
    pub(crate) fn close(&self) {
        drop(lock(&self.ahead).take());
    }

    async fn open(&self) -> io::Result<Socket> {
        let namespace = Arc::clone(&self.namespace);
        worker::get(&worker::OPENER)?
            .run(move || {
                worker::enter(namespace.as_fd())?;
                socket()
            })
            .await?
    }

    /// Has the missing sockets opened, without waiting.
    fn refill(&self) -> io::Result<()> {
        let namespace = Arc::clone(&self.namespace);
        let ahead = Arc::clone(&self.ahead);
        worker::get(&worker::OPENER)?.start(move || {
            let missing = lock(&ahead)
                .as_ref()
                .map_or(0, |own| AHEAD.saturating_sub(own.len()));
            if missing == 0 || worker::enter(namespace.as_fd()).is_err() {
                return;
            }
            // What cannot be opened now is opened, or fails, when it is needed.
            let opened = sockets().into_iter().take(missing);
            if let Some(own) = lock(&ahead).as_mut() {
                own.extend(opened);
                own.truncate(AHEAD);
            }
        })
    }
}

fn lock(ahead: &Mutex<Option<Vec<Socket>>>) -> std::sync::MutexGuard<'_, Option<Vec<Socket>>> {
    ahead.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sockets to keep ahead, opened in the calling thread's namespace.
pub(crate) fn sockets() -> Vec<Socket> {
    (0..AHEAD).map_while(|_| socket().ok()).collect()
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)
}
