//! Exports of the logs that `berth.toml` asks for.

use berth_config::{LogExport, ServerConfig};
use berth_error::{Report, ResultExt as _};
use berth_logs::Logs;
use berth_logs::export::{self, BucketOptions, ExportOptions, FileOptions, HttpOptions};
use tokio::task::JoinHandle;

/// Starts them.
pub(super) async fn start(
    logs: &Logs,
    config: &ServerConfig,
) -> Result<Vec<JoinHandle<()>>, Report> {
    let mut tasks = Vec::new();
    for wanted in &config.logs.export {
        let (name, options) = options(wanted)?;
        tasks.push(export::start(logs, &name, options).await?);
    }
    Ok(tasks)
}

/// How an export is known that goes on where it was, and what it does.
fn options(wanted: &LogExport) -> Result<(String, ExportOptions), Report> {
    Ok(match wanted.clone() {
        LogExport::File {
            path,
            max_bytes,
            keep,
        } => {
            let name = format!("file {}", path.display());
            let options = FileOptions {
                path,
                max_bytes,
                keep,
            };
            (name, ExportOptions::File(options))
        }
        LogExport::Http {
            url,
            authorization_file,
        } => {
            let authorization = authorization_file.map(|path| {
                let text = fs_err::read_to_string(path);
                let text = text.context("could not read the authorization of a log export")?;
                Ok::<_, Report>(text.trim().to_owned())
            });
            let options = HttpOptions {
                url: url.clone(),
                authorization: authorization.transpose()?,
            };
            (format!("url {url}"), ExportOptions::Http(options))
        }
        LogExport::Bucket {
            name,
            prefix,
            endpoint,
            every,
        } => {
            let known = format!("bucket {name} {prefix}");
            let options = BucketOptions {
                name,
                prefix,
                endpoint,
                every,
            };
            (known, ExportOptions::Bucket(options))
        }
    })
}
