//! Entries on their way out of the server.
//!
//! An export reads the database behind its own mark, which moves when the other side has what was sent: what
//! cannot be delivered waits there, for as long as entries are kept, over restarts, too. So the queue is bounded
//! by what bounds the logs, and an entry arrives at least once.

mod bucket;
mod file;
mod http;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Entry, Logs, Query};

pub use bucket::BucketOptions;
pub use file::FileOptions;
pub use http::HttpOptions;

/// Where entries go.
#[derive(Clone, Debug)]
pub enum ExportOptions {
    /// A file of JSON lines.
    File(FileOptions),
    /// An HTTP server, JSON lines by POST.
    Http(HttpOptions),
    /// A bucket, one object of JSON lines for each batch.
    Bucket(BucketOptions),
}

/// An export cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("logs cannot be exported to {target}: {problem}")]
pub struct ExportError {
    /// Where.
    pub target: String,
    /// Why not.
    pub problem: String,
}

impl berth_error::Hint for ExportError {}

/// Entries of one batch.
const BATCH: usize = 1000;
/// First pause after a failure; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Where a batch is sent.
#[async_trait]
trait Target: Send + Sync {
    /// Others that come within this time go with the first ones.
    fn gather(&self) -> Duration;

    /// Sends entries, which are not empty. They have arrived when it returns.
    async fn send(&self, entries: &[Entry]) -> Result<(), String>;
}

/// Exports what is written after it returns, or all since the export of this name was last there. Ends when
/// it is aborted.
///
/// # Errors
/// What the options say cannot be, or the database fails.
pub async fn start(
    logs: &Logs,
    name: &str,
    options: ExportOptions,
) -> Result<tokio::task::JoinHandle<()>, ExportError> {
    let target: Box<dyn Target> = match options {
        ExportOptions::File(options) => Box::new(file::File::open(options)?),
        ExportOptions::Http(options) => Box::new(http::Http::open(options)?),
        ExportOptions::Bucket(options) => Box::new(bucket::Bucket::open(options)?),
    };
    let news = logs.follow();
    logs.flush().await;
    let mark = logs.exported(name).await.map_err(|error| ExportError {
        target: format!("`{name}`"),
        problem: berth_error::chain(&error),
    })?;
    logs.set_exported(name, mark).await;
    let export = Export {
        logs: logs.clone(),
        name: name.to_owned(),
        target,
    };
    Ok(tokio::spawn(export.run(news, mark)))
}

struct Export {
    logs: Logs,
    name: String,
    target: Box<dyn Target>,
}

impl Export {
    async fn run(self, mut news: broadcast::Receiver<Arc<Entry>>, mut mark: u64) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.step(mark).await {
                Ok(Some(next)) => {
                    mark = next;
                    pause = FIRST_PAUSE;
                }
                Ok(None) => {
                    if !sleep_until_news(&mut news).await {
                        return;
                    }
                    tokio::time::sleep(self.target.gather()).await;
                }
                Err(error) => {
                    tracing::warn!(name = self.name, error, again_in = ?pause, "an export waits");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    /// Sends the entries after the mark; the new mark, if there were any.
    async fn step(&self, mark: u64) -> Result<Option<u64>, String> {
        let query = Query {
            after: Some(mark),
            limit: Some(BATCH),
            ..Query::default()
        };
        let entries = self.logs.query(query).await;
        let entries = entries.map_err(|error| berth_error::chain(&error))?;
        let Some(last) = entries.last().map(|entry| entry.id) else {
            return Ok(None);
        };
        self.target.send(&entries).await?;
        self.logs.set_exported(&self.name, last).await;
        Ok(Some(last))
    }
}

/// Waits for an entry; `false`: there will be none.
async fn sleep_until_news(news: &mut broadcast::Receiver<Arc<Entry>>) -> bool {
    match news.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {
            // How many does not matter.
            *news = news.resubscribe();
            true
        }
        Err(RecvError::Closed) => false,
    }
}

/// One JSON object on each line.
fn lines(entries: &[Entry]) -> Result<Bytes, String> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).map_err(|error| error.to_string())?;
        text.push(b'\n');
    }
    Ok(text.into())
}
