//! What only Berth has: the machine that a server is on, commands in its containers, backups.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWrite;

/// A machine. Answers are JSON as `docs/server.md` has it.
#[async_trait::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Version, addresses, since when.
    fn about(&self) -> Value;

    /// Health at a glance.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn status(&self) -> Result<Value, String>;

    /// Every container, as `berth ps --json` shows it.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn containers(&self) -> Result<Vec<Value>, String>;

    /// What Workers and their containers have used, and what it costs.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn usage(&self, wanted: UsageRequest) -> Result<Value, String>;

    /// Starts a command in a container, which is named by its id.
    ///
    /// # Errors
    /// Why it does not start.
    async fn exec(&self, container: &str, wanted: ExecRequest) -> Result<Exec, String>;

    /// Whether somebody with these keys could log in to a container by SSH.
    ///
    /// # Errors
    /// Which of them is no key, or why there is no SSH.
    async fn check_ssh(&self, keys: &SshKeys) -> Result<(), String>;

    /// Serves SSH in front of a container, which is named by its id, until it or the client has ended; then
    /// the stream is to be closed.
    ///
    /// # Errors
    /// Why it ended before its time.
    async fn ssh(&self, container: &str, keys: &SshKeys, stream: SshStream) -> Result<(), String>;

    /// Begins a backup.
    ///
    /// # Errors
    /// Why there is none.
    async fn backup(&self, wanted: BackupRequest) -> Result<Backup, String>;
}

/// Which usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRequest {
    /// From the hour of this time on, Unix milliseconds.
    pub since_ms: u64,
    /// Hours that begin before this time.
    pub until_ms: u64,
    /// Of one Worker only.
    pub app: Option<String>,
}

/// What to run.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `KEY=value`, over the container's.
    #[serde(default)]
    pub env: Vec<String>,
    /// `None`: the container's.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// `None`: the container's.
    #[serde(default)]
    pub user: Option<String>,
    /// Give it a terminal of rows × columns.
    #[serde(default)]
    pub terminal: Option<(u16, u16)>,
}

/// A running command.
pub struct Exec {
    /// Its standard input; shutting it down is its end of file.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its output until it has ended.
    pub output: Pin<Box<dyn Stream<Item = std::io::Result<ExecOutput>> + Send>>,
    /// What else can be done with it.
    pub control: Arc<dyn ExecControl>,
}

/// A piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output; of a terminal everything.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// A running command beside its streams.
#[async_trait::async_trait]
pub trait ExecControl: Send + Sync + 'static {
    /// Tells its terminal the new size.
    async fn resize(&self, rows: u16, columns: u16);

    /// Its exit code, when its output has ended.
    async fn exit_code(&self) -> Option<i32>;
}

/// Who may log in, in OpenSSH's format of public keys.
#[derive(Clone, Debug, Default)]
pub struct SshKeys {
    /// Keys.
    pub keys: Vec<String>,
    /// Keys of authorities, whose certificates say who.
    pub authorities: Vec<String>,
}

/// The bytes of an SSH connection.
pub type SshStream = tokio::io::DuplexStream;

/// What a backup is to hold.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct BackupRequest {
    /// The keys that secrets are sealed with, and the administrator's token.
    #[serde(default)]
    pub keys: bool,
    /// Images of the registry.
    #[serde(default)]
    pub images: bool,
}

/// A backup on its way.
pub type Backup = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;
