//! An SSH server in front of a container: what `wrangler containers ssh` talks to.
//!
//! The container has no daemon, no account and no open port. A client's bytes, however they came here, are
//! given to [`Server::serve`] with who may log in ([`Access`]) and the container ([`Container`]); a session
//! is another process in it, as root. The protocol is `russh`'s.
//!
//! | module | its job |
//! |---|---|
//! | `access` | authorized keys and certificates |
//! | `connection` | what a client may ask for, and when |
//! | `input` | what a client sends, until the process reads it |
//! | `process` | a session's process: its output and its end |
//! | `wanted` | terminal, environment and command as a client asks for them |
//!
//! Invariants: only the user [`USER`], only with a key or certificate; one session at a time for each
//! connection; nothing is forwarded; a connection has bounded memory, and a bounded time to log in. When it
//! ends, its process is hung up; when the container ends, so does it.
#![forbid(unsafe_code)]

mod access;
mod connection;
mod input;
mod process;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, Exec, ExecSpec};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::server::Config;
use russh::{MethodKind, MethodSet, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

pub use access::{Access, AccessError};

/// Whom a client logs in as; the process is root's.
pub const USER: &str = "cloudchamber";

/// What a session without a command runs with `/bin/sh -c`: the best shell that there is.
pub const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l";

/// Time to log in.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// Refused keys and methods until the connection is closed; asking whether a key would do is none.
const LOGIN_ATTEMPTS: usize = 6;
/// Open connections.
const CONNECTIONS: usize = 64;
/// A client that does not answer so many questions, each after so long, is gone.
const ALIVE: (Duration, usize) = (Duration::from_secs(30), 3);
/// Bytes that a client may send before it is told that it may send more.
const WINDOW: u32 = 1 << 20;
/// How long the last words of a session may take after its container has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The container of a connection.
#[async_trait::async_trait]
pub trait Container: Send + Sync + 'static {
    /// Starts a process in it.
    ///
    /// # Errors
    /// Why it does not start.
    async fn exec(&self, spec: ExecSpec) -> Result<Exec, EngineError>;

    /// Returns when it has ended, at once if it does not run.
    async fn ended(&self);
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There are as many connections as may be.
    #[error("there are {CONNECTIONS} SSH connections already")]
    TooMany,
    /// The client took too long.
    #[error("nobody logged in within {} s", LOGIN_TIME.as_secs())]
    LoginTime,
    /// The client, or the way to it, broke the protocol.
    #[error("the SSH connection broke off")]
    Protocol(#[from] russh::Error),
}

/// A server; one is enough for all containers.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    places: Semaphore,
}

impl Server {
    /// A server whose host key is made of 32 secret bytes.
    pub fn new(host_key: &[u8; 32]) -> Self {
        let pair = Ed25519Keypair::from_seed(host_key);
        // Fails for encrypted keys only.
        let key = PrivateKey::new(KeypairData::Ed25519(pair), "berth");
        let config = Config {
            server_id: SshId::Standard("SSH-2.0-Berth".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Nobody is here without a token of the API: there is nothing to guess.
            auth_rejection_time: Duration::ZERO,
            max_auth_attempts: LOGIN_ATTEMPTS,
            keys: key.into_iter().collect(),
            window_size: WINDOW,
            inactivity_timeout: None,
            keepalive_interval: Some(ALIVE.0),
            keepalive_max: ALIVE.1,
            ..Config::default()
        };
        Self {
            config: Arc::new(config),
            places: Semaphore::new(CONNECTIONS),
        }
    }

    /// Serves a client until it leaves or the container ends. When this returns, whoever has the stream's
    /// other end must close it.
    ///
    /// # Errors
    /// [`ServeError`]; the client has been told what can be told.
    pub async fn serve<S>(
        &self,
        stream: S,
        access: Access,
        container: Arc<dyn Container>,
    ) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _place = self.places.try_acquire().map_err(|_| ServeError::TooMany)?;
        let (progress, mut seen) = watch::channel(connection::Progress::default());
        let handler = connection::Connection::new(access, Arc::clone(&container), progress);
        let login = tokio::time::sleep(LOGIN_TIME);
        tokio::pin!(login);
        let running = tokio::select! {
            running = russh::server::run_stream(Arc::clone(&self.config), stream, handler) => running?,
            () = &mut login => return Err(ServeError::LoginTime),
        };
        let handle = running.handle();
        tokio::pin!(running);
        {
            let ended = container.ended();
            tokio::pin!(ended);
            let mut in_time = false;
            loop {
                tokio::select! {
                    over = &mut running => return Ok(over?),
                    () = &mut login, if !in_time => {
                        in_time = seen.borrow().logged_in;
                        if !in_time {
                            return Err(ServeError::LoginTime);
                        }
                    }
                    () = &mut ended => break,
                }
            }
        }
        // Its process has ended with it: what is left to be told is told first.
        let idle = seen.wait_for(|progress| !progress.in_session);
        let _ = tokio::time::timeout(LAST_WORDS, idle).await;
        let reason = russh::Disconnect::ByApplication;
        let text = "the container has ended".to_owned();
        // Fails only when the client has gone.
        let _ = handle.disconnect(reason, text, String::new()).await;
        let _ = tokio::time::timeout(LAST_WORDS, &mut running).await;
        Ok(())
    }
}
