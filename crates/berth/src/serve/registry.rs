//! The server's own registry: where images are pushed that are to run here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_api::RegistryPassword;
use berth_distribution::{Client, ClientOptions, Credential, Keyring, PullOptions, Registries};
use berth_error::{Report, ResultExt as _};
use berth_image::{ImageStore, Reference};
use berth_registry::auth::{
    Actions, Anonymous, Grant, Identity, Pattern, SignedCredentials, SigningKey,
};
use berth_registry::server::Server;
use berth_registry::storage::Directory;
use berth_registry::{CollectOptions, Registry, RegistryOptions};
use tokio_util::sync::CancellationToken;

use super::certificate;

/// How long a password is good for with which the server itself pulls, in seconds.
const OWN_SECONDS: u64 = 3600;
/// Between two collections of what nobody needs.
const COLLECT_EVERY: std::time::Duration = std::time::Duration::from_secs(3600);

/// A registry that listens.
pub(super) struct OwnRegistry {
    /// As in image names: host and port.
    pub(super) host: String,
    /// The file of its certificate, which clients are to trust.
    pub(super) certificate: Option<PathBuf>,
    authority: SignedCredentials,
    registry: Registry,
    serving: tokio::task::JoinHandle<()>,
    collecting: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    /// Nobody else serves the same directory.
    _lock: std::fs::File,
}

impl OwnRegistry {
    /// Serves `<data>/registry`.
    pub(super) async fn start(data: &Path, listen: SocketAddr) -> Result<Self, Report> {
        let options = certificate::for_address(&data.join("keys"), listen.ip()).await?;
        let certificate = options
            .tls
            .as_ref()
            .map(|(certificate, _)| certificate.clone());
        let server = Server::bind(listen, options).await?;
        let root = data.join("registry");
        let directory = Directory::open(&root)?;
        let lock = directory.lock()?.ok_or_else(|| {
            Report::new(
                format!("another registry serves `{}`", root.display()),
                Some(
                    "end `berth registry serve`, or name another directory with `--data-dir`"
                        .to_owned(),
                ),
            )
        })?;
        directory.sweep()?;
        let key = SigningKey::kept_in(&root.join("key"))?;
        let authority = SignedCredentials::new(key.clone(), Anonymous::Nothing);
        let options = RegistryOptions {
            collect: CollectOptions {
                interval: Some(COLLECT_EVERY),
                ..CollectOptions::default()
            },
            ..RegistryOptions::default()
        };
        let registry = Registry::open(
            Arc::new(directory),
            Arc::new(authority.clone()),
            key,
            options,
        );
        let registry = registry.await.context("could not open the registry")?;
        let host = server.address().to_string();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(registry.router(false), stop.clone()));
        let collecting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.keep_collecting().await }
        });
        Ok(Self {
            host,
            certificate,
            authority,
            registry,
            serving,
            collecting,
            stop,
            _lock: lock,
        })
    }

    /// A password for everything in it.
    pub(super) fn password(&self, push: bool, seconds: u64) -> RegistryPassword {
        let actions = if push { Actions::ALL } else { Actions::PULL };
        let identity = Identity {
            name: "wrangler".to_owned(),
            grants: vec![Grant {
                repositories: Pattern::all(),
                actions,
            }],
        };
        RegistryPassword {
            user: SignedCredentials::user().to_owned(),
            password: self.authority.issue(&identity, Some(seconds)),
        }
    }

    /// Brings an image of its own into the store.
    pub(super) async fn pull(
        &self,
        store: &ImageStore,
        reference: &Reference,
    ) -> Result<(), Report> {
        let RegistryPassword { user, password } = self.password(false, OWN_SECONDS);
        let credential = Credential::password(user, password, "the server's own registry");
        let registries = Registries::load(store.root())?;
        let keyring = Keyring::only(&self.host, credential);
        let client = Client::new(registries, keyring, ClientOptions::default());
        client
            .pull(store, reference, &PullOptions::default(), &|_| {})
            .await?;
        Ok(())
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.collecting.abort();
        let _ = self.collecting.await;
        let _ = self.serving.await;
        drop(self.registry);
    }
}
