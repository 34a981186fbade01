//! Keeps the gateway's certificates new: files are read again when they change and on SIGHUP, and others are
//! obtained from an authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_config::{CertificateFiles, ServerConfig};
use berth_error::{Report, ResultExt as _};
use berth_gateway::{Acme, Certificates, Challenges, Sites};
use berth_registry::server::{Plain, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// How often files are looked at. What is named may be a link to a link, so that no notice of the kernel
/// would tell everything.
const PERIOD: Duration = Duration::from_secs(5);

/// The tasks. Dropping it ends them.
pub(super) struct CertificateKeeper(Vec<JoinHandle<()>>);

impl CertificateKeeper {
    /// From now on.
    pub(super) fn start(
        config: &ServerConfig,
        data: &Path,
        sites: &Arc<Sites>,
        certificates: &Arc<Certificates>,
        challenges: &Arc<Challenges>,
    ) -> Result<Self, Report> {
        let mut hangup = signal(SignalKind::hangup()).context("could not listen to signals")?;
        let (files, held) = (config.tls.certificates.clone(), Arc::clone(certificates));
        let following = tokio::spawn(async move {
            let mut known = states(&files);
            loop {
                let asked = tokio::select! {
                    _ = hangup.recv() => true,
                    () = tokio::time::sleep(PERIOD) => false,
                };
                let now = states(&files);
                if asked || now != known {
                    load(&held, &files);
                    known = now;
                }
            }
        });
        let mut tasks = vec![following];
        if let Some(acme) = &config.acme {
            let acme = Acme::new(
                acme.clone(),
                data.join("acme"),
                Arc::clone(sites),
                Arc::clone(certificates),
                Arc::clone(challenges),
            )?;
            tasks.push(tokio::spawn(acme.run()));
        }
        Ok(Self(tasks))
    }
}

/// How the API, S3 and the figures are served: with the gateway's certificates, if there are any, and without
/// TLS for programs of this machine only.
pub(super) fn listener_options(
    config: &ServerConfig,
    certificates: &Arc<Certificates>,
) -> ServerOptions {
    if !config.has_certificates() {
        return ServerOptions::default();
    }
    ServerOptions {
        resolver: Some(Arc::clone(certificates) as Arc<_>),
        plain: match config.listen.insecure {
            true => Plain::Everybody,
            false => Plain::ThisMachine,
        },
        ..ServerOptions::default()
    }
}

impl Drop for CertificateKeeper {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

fn load(certificates: &Certificates, files: &[CertificateFiles]) {
    match certificates.load(files) {
        Ok(()) => tracing::info!("certificates were read again"),
        Err(error) => {
            let error = berth_error::chain(&error);
            tracing::error!(error, "the certificates stay as they were");
        }
    }
}

/// When each file was changed, and how large it is.
fn states(files: &[CertificateFiles]) -> Vec<Option<(SystemTime, u64)>> {
    let all = files
        .iter()
        .flat_map(|files| [&files.certificate, &files.key]);
    let state = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    all.map(state).collect()
}
