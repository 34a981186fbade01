//! The server's own registry: where images are pushed that are to run here.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_api::RegistryPassword;
use berth_distribution::{
    Client, ClientOptions, Credential, HostConfig, Keyring, PullOptions, Registries,
};
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
    /// As in image names: host and port, as they are now.
    pub(super) host: String,
    /// Hosts and ports that it had before.
    former: BTreeSet<String>,
    /// First part of the repositories that clients push to.
    account: String,
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
    /// Serves `<data>/registry`, for this account.
    pub(super) async fn start(
        data: &Path,
        listen: SocketAddr,
        account: &str,
    ) -> Result<Self, Report> {
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
        let former = hosts(&root.join("hosts.json"), &host)?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(registry.router(false), stop.clone()));
        let collecting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.keep_collecting().await }
        });
        Ok(Self {
            host,
            former,
            account: account.to_owned(),
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

    /// Whether an image is in it, or was pushed to it: at whatever address it was then, and whatever clients call
    /// this machine.
    pub(super) fn has(&self, reference: &Reference) -> bool {
        let host = reference.host();
        let own = reference.repository().split('/').next() == Some(&self.account);
        own || host == self.host || self.former.contains(host)
    }

    /// The service, for the listener of the API: clients elsewhere reach no other.
    pub(super) fn router(&self) -> axum::Router {
        self.registry.router(false)
    }

    /// Brings an image of its own into the store, under the name that it is asked for by.
    pub(super) async fn pull(
        &self,
        store: &ImageStore,
        reference: &Reference,
    ) -> Result<(), Report> {
        let RegistryPassword { user, password } = self.password(false, OWN_SECONDS);
        let credential = Credential::password(user, password, "the server's own registry");
        let mut registries = Registries::load(store.root())?;
        if reference.host() != self.host {
            let here = format!("http://{}/", self.host);
            let here = here.parse().context("the registry has no address")?;
            let config = HostConfig {
                mirrors: vec![here],
                ..HostConfig::default()
            };
            registries = registries.with_host(reference.host(), config);
        }
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

/// Every host that image names have had for it. The present one is remembered.
fn hosts(path: &Path, present: &str) -> Result<BTreeSet<String>, Report> {
    let mut hosts: BTreeSet<String> = match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .context(format!("`{}` cannot be understood", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(Report::from_error(&error)),
    };
    if hosts.insert(present.to_owned()) {
        let text = serde_json::to_vec(&hosts).context("could not write the registry's hosts")?;
        keep(path, &text).context("could not keep the registry's hosts")?;
    }
    Ok(hosts)
}

/// The former or the new content, whatever happens.
fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let next = path.with_extension("new");
    let mut file = fs_err::File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&next, path)
}
