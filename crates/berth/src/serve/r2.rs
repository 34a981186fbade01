//! R2 on a server: buckets at a socket for its Workers, and the S3 endpoint for everybody else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::ServerConfig;
use berth_control::Control;
use berth_error::Report;
use berth_r2::binding::Unmade;
use berth_r2::s3::{self, S3Options};
use berth_r2::{BucketOptions, Place};
use berth_registry::server::{Server as Listener, ServerOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::buckets::Serving;
use crate::host::HostService;

/// Under which containers reach the S3 endpoint, at port 80.
pub(super) const NAME: &str = "s3.berth.internal";

/// Socket of the buckets, in the session's directory.
pub(super) fn socket(session: &Path) -> PathBuf {
    session.join("r2.sock")
}

/// Where the bytes of objects are.
pub(super) fn place(config: &ServerConfig) -> Place {
    let Some(bucket) = &config.r2 else {
        return Place::Directory;
    };
    Place::Bucket(BucketOptions {
        name: bucket.bucket.clone(),
        prefix: bucket.prefix.clone(),
        endpoint: bucket.endpoint.clone(),
    })
}

/// The listener of the S3 endpoint; what it serves is not known yet.
pub(super) struct Endpoint {
    listener: Option<Listener>,
}

impl Endpoint {
    /// Listens, if there is to be one.
    pub(super) async fn bind(
        address: Option<SocketAddr>,
        options: ServerOptions,
    ) -> Result<Self, Report> {
        let listener = match address {
            Some(address) => Some(Listener::bind(address, options).await?),
            None => None,
        };
        Ok(Self { listener })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    /// What containers reach.
    pub(super) fn services(&self) -> Vec<HostService> {
        let of = |address: SocketAddr| HostService {
            name: NAME,
            port: 80,
            address: reached(address),
        };
        self.address().map(of).into_iter().collect()
    }

    /// Serves the buckets: at a socket for Workers, and here.
    pub(super) fn serve(
        self,
        control: &Control,
        session: &Path,
        base_domain: &str,
    ) -> Result<Buckets, Report> {
        let store = control.r2();
        let workers = Serving::start(store, &socket(session), Unmade::Refused)?;
        let stop = CancellationToken::new();
        let options = S3Options {
            domains: vec![format!("s3.{base_domain}"), NAME.to_owned()],
        };
        let clients = self.listener.map(|listener| {
            let router = s3::router(store.clone(), Arc::new(control.clone()), options);
            tokio::spawn(listener.run(router, stop.clone()))
        });
        Ok(Buckets {
            workers,
            clients,
            stop,
        })
    }
}

/// The address of a listener that listens at every one.
fn reached(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback: std::net::IpAddr = if address.is_ipv4() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    SocketAddr::new(loopback, address.port())
}

/// Both, while they serve.
pub(super) struct Buckets {
    workers: Serving,
    clients: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Buckets {
    /// Finishes what is asked, and ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(clients) = self.clients {
            // Only tells that it was cancelled or aborted.
            let _ = clients.await;
        }
        self.workers.end().await;
    }
}
