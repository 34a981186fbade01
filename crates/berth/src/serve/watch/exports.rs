//! Exports of the logs that `berth.toml` asks for.

use berth_config::ServerConfig;
use berth_error::Report;
use berth_logs::Logs;
use tokio::task::JoinHandle;

/// Starts them.
pub(super) async fn start(
    _logs: &Logs,
    _config: &ServerConfig,
) -> Result<Vec<JoinHandle<()>>, Report> {
    Ok(Vec::new())
}
