//! The door: one client of all registries, with what it has learned about each of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::sync::{Mutex, Semaphore};

use crate::auth::Scope;
use crate::config::Registries;
use crate::credentials::{Credential, DockerConfig, Keyring};
use crate::endpoint::Endpoint;
use crate::error::DistributionError;
use crate::retry::Backoff;
use crate::transport::{Call, Transport};

/// Deadlines and patience.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Longest wait for a connection. A registry that was never reached is not tried again.
    pub connect_timeout: Duration,
    /// Longest wait for the next byte.
    pub idle_timeout: Duration,
    /// Longest wait for a credential helper.
    pub helper_timeout: Duration,
    /// Between attempts.
    pub backoff: Backoff,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            helper_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
        }
    }
}

/// A client of registries. Cheap to clone; clones share connections, logins and the limit on blobs
/// that are on their way at the same time.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registries: Registries,
    keyring: Arc<Keyring>,
    options: ClientOptions,
    transport: Arc<Transport>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    slots: Semaphore,
}

impl Client {
    /// The client of a data directory: its `registries.json`, its vault, and Docker's `config.json`,
    /// the user's or that of a directory.
    ///
    /// # Errors
    /// A mistake in `registries.json`.
    pub fn open(data: &Path, docker: Option<&Path>) -> Result<Self, DistributionError> {
        let registries = Registries::load(data)?;
        let docker = match docker {
            Some(directory) => Some(DockerConfig::in_directory(directory)),
            None => DockerConfig::of_user(),
        };
        Ok(Self::new(
            registries,
            Keyring::of_machine(data, docker),
            ClientOptions::default(),
        ))
    }

    /// A client with everything given.
    pub fn new(registries: Registries, keyring: Keyring, options: ClientOptions) -> Self {
        let transport = Transport::new(
            registries.clone(),
            options.connect_timeout,
            options.idle_timeout,
        );
        Self {
            inner: Arc::new(Inner {
                slots: Semaphore::new(registries.parallel.max(1)),
                registries,
                keyring: Arc::new(keyring),
                options,
                transport: Arc::new(transport),
                endpoints: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// What is configured.
    pub fn registries(&self) -> &Registries {
        &self.inner.registries
    }

    /// The credentials that would be used for a registry, by its host as in image names.
    ///
    /// # Errors
    /// They cannot be read or exchanged.
    pub async fn credential(&self, host: &str) -> Result<Option<Credential>, DistributionError> {
        let inner = &self.inner;
        let timeout = inner.options.helper_timeout;
        Ok(inner.keyring.find(host, &inner.transport, timeout).await?)
    }

    /// Tries the credentials of the keyring at a registry.
    ///
    /// # Errors
    /// They are not accepted, or it cannot be found out.
    pub async fn check_login(&self, host: &str) -> Result<(), DistributionError> {
        let endpoint = self.registry(host).await?;
        let action = "log in";
        let call = Call::new(Method::GET, endpoint.root().await?);
        let scope = Scope::default();
        let answer = endpoint.ask(&call, &scope, action, &|_, _| {}).await?;
        match answer.response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err(endpoint.protocol(
                action,
                "answers, but is not a registry (there is no `/v2/`)",
            )),
            _ => Err(endpoint.refused(action, answer).await),
        }
    }

    /// The registry of image names.
    pub(crate) async fn registry(&self, host: &str) -> Result<Arc<Endpoint>, DistributionError> {
        let inner = &self.inner;
        let mut endpoints = inner.endpoints.lock().await;
        if let Some(known) = endpoints.get(host) {
            return Ok(Arc::clone(known));
        }
        let endpoint = Arc::new(Endpoint::registry(
            host,
            inner.registries.host(host),
            Arc::clone(&inner.transport),
            Arc::clone(&inner.keyring),
            inner.options.backoff,
            inner.options.helper_timeout,
        )?);
        endpoints.insert(host.to_owned(), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// Where images of a registry can be pulled from, best first: its mirrors, then itself.
    pub(crate) async fn sources(
        &self,
        host: &str,
    ) -> Result<Vec<Arc<Endpoint>>, DistributionError> {
        let inner = &self.inner;
        let mut sources = Vec::new();
        for url in inner.registries.host(host).mirrors {
            let mut endpoints = inner.endpoints.lock().await;
            let mirror = endpoints.entry(url.to_string()).or_insert_with(|| {
                Arc::new(Endpoint::mirror(
                    &url,
                    Arc::clone(&inner.transport),
                    Arc::clone(&inner.keyring),
                    inner.options.backoff,
                    inner.options.helper_timeout,
                ))
            });
            sources.push(Arc::clone(mirror));
        }
        sources.push(self.registry(host).await?);
        Ok(sources)
    }

    /// Bounds the blobs that are on their way at the same time.
    pub(crate) fn slots(&self) -> &Semaphore {
        &self.inner.slots
    }
}
