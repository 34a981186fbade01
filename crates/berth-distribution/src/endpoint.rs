//! One registry, or one mirror of it: where it is, and asking it with login and patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use tokio::sync::OnceCell;

use crate::auth::{Auth, Scope};
use crate::challenge;
use crate::config::HostConfig;
use crate::credentials::Keyring;
use crate::error::DistributionError;
use crate::errors_of_registry;
use crate::retry::{Backoff, is_temporary, retry_after};
use crate::transport::{Answer, Call, SendError, Transport, TransportError, is_loopback};

/// Docker Hub in image names.
pub(crate) const HUB: &str = "docker.io";
/// Where Docker Hub's registry answers.
pub(crate) const HUB_ENDPOINT: &str = "registry-1.docker.io";

/// Most logins for one request.
const MAX_LOGINS: usize = 4;

/// Hears why something is tried again, and after how long.
pub(crate) type OnRetry<'a> = &'a (dyn Fn(&str, Duration) + Send + Sync);

/// A registry or a mirror.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// As image names have it; of a mirror its own.
    pub(crate) host: String,
    /// What is known of the scheme.
    place: Place,
    base: OnceCell<Url>,
    pub(crate) config: HostConfig,
    transport: Arc<Transport>,
    auth: Auth,
    backoff: Backoff,
    /// It has answered once.
    reached: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Known(Url),
    /// On this machine: with TLS if it speaks it, without if not.
    Loopback {
        tls: Url,
        plain: Url,
    },
}

/// One attempt that gave no answer.
pub(crate) enum Failure {
    /// It may work later, if it is safe to ask again.
    Transport(TransportError),
    /// It will not.
    Final(DistributionError),
}

impl Endpoint {
    /// The registry of image names.
    pub(crate) fn registry(
        host: &str,
        config: HostConfig,
        transport: Arc<Transport>,
        keyring: Arc<Keyring>,
        backoff: Backoff,
        helper_timeout: Duration,
    ) -> Result<Self, DistributionError> {
        let real = if host == HUB { HUB_ENDPOINT } else { host };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{real}/")).map_err(|_| DistributionError::BadImage {
                reference: host.to_owned(),
                problem: "its host cannot be part of a URL".to_owned(),
            })
        };
        let tls = url("https")?;
        let place = if config.plain_http {
            Place::Known(url("http")?)
        } else if is_loopback(&tls) && !config.skip_verify && config.ca.is_none() {
            Place::Loopback {
                tls,
                plain: url("http")?,
            }
        } else {
            Place::Known(tls)
        };
        let auth = Auth::new(host, &config.realms, keyring, helper_timeout);
        Ok(Self::at(host, place, config, transport, auth, backoff))
    }

    /// A mirror, by its URL.
    pub(crate) fn mirror(
        url: &Url,
        transport: Arc<Transport>,
        keyring: Arc<Keyring>,
        backoff: Backoff,
        helper_timeout: Duration,
    ) -> Self {
        let host = crate::transport::authority(url);
        let config = transport.config(url);
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let auth = Auth::new(&host, &config.realms, keyring, helper_timeout);
        Self::at(&host, Place::Known(url), config, transport, auth, backoff)
    }

    fn at(
        host: &str,
        place: Place,
        config: HostConfig,
        transport: Arc<Transport>,
        auth: Auth,
        backoff: Backoff,
    ) -> Self {
        Self {
            host: host.to_owned(),
            place,
            base: OnceCell::new(),
            config,
            transport,
            auth,
            backoff,
            reached: AtomicBool::new(false),
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// `…/v2/<rest>`; the path of a mirror comes before the repository.
    pub(crate) async fn url(&self, rest: &str) -> Result<Url, DistributionError> {
        let base = self.base.get_or_init(|| self.find_base()).await;
        let prefix = base.path().trim_start_matches('/');
        let mut url = base.clone();
        url.set_path(&format!("/v2/{prefix}{rest}"));
        Ok(url)
    }

    /// The root of the API, which every registry has.
    pub(crate) async fn root(&self) -> Result<Url, DistributionError> {
        let mut url = self.url("").await?;
        url.set_path("/v2/");
        Ok(url)
    }

    /// A URL that the registry gave for a next step.
    pub(crate) async fn join(
        &self,
        location: &str,
        action: &str,
    ) -> Result<Url, DistributionError> {
        let base = self.root().await?;
        let url = base
            .join(location)
            .map_err(|_| self.protocol(action, "gives a `Location` that is no URL"))?;
        match (base.scheme(), url.scheme()) {
            ("https", "https") | ("http", "http" | "https") => Ok(url),
            _ => Err(self.protocol(action, "gives a `Location` without TLS")),
        }
    }

    async fn find_base(&self) -> Url {
        let (tls, plain) = match &self.place {
            Place::Known(url) => return url.clone(),
            Place::Loopback { tls, plain } => (tls, plain),
        };
        let ask = |url: &Url| {
            let mut root = url.clone();
            root.set_path("/v2/");
            async {
                self.transport
                    .send(&Call::new(Method::GET, root), None, &|_| {})
                    .await
            }
        };
        match ask(tls).await {
            Err(SendError::Transport(error)) if !error.is_certificate() => plain.clone(),
            // A registry on this machine may speak both, with a certificate of its own.
            Err(SendError::Transport(_)) if ask(plain).await.is_ok() => plain.clone(),
            _ => tls.clone(),
        }
    }

    /// Asks once, logging in if the registry wants that. The answer has any status but 401.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        scope: &Scope,
        action: &str,
        uploaded: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Answer, Failure> {
        let ours = crate::transport::same_origin(&call.url, &self.root().await?);
        let mut header = None;
        if ours {
            header = self.auth.header(scope, self, action).await?;
        }
        let mut answer = self.send(call, header.as_ref(), uploaded).await?;
        for round in 0..MAX_LOGINS {
            if answer.response.status() != StatusCode::UNAUTHORIZED || answer.elsewhere || !ours {
                return Ok(answer);
            }
            let Some(challenge) = challenge::of_headers(answer.response.headers()) else {
                return Err(self.refused(action, answer).await.into());
            };
            // A token that was new may have been used up by others while this request was on its way.
            let again = round == 0 || challenge.is_invalid_token();
            self.auth.learn(challenge, header.as_ref()).await;
            let fresh = if again {
                self.auth.header(scope, self, action).await?
            } else {
                header.clone()
            };
            if fresh == header {
                break;
            }
            header = fresh;
            answer = self.send(call, header.as_ref(), uploaded).await?;
        }
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.elsewhere {
            return Ok(answer);
        }
        let body = self.transport.small_body(&mut answer.response).await;
        let says = errors_of_registry::text(&body);
        Err(self.auth.refused(action, says).await.into())
    }

    async fn send(
        &self,
        call: &Call,
        header: Option<&reqwest::header::HeaderValue>,
        uploaded: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Answer, Failure> {
        match self.transport.send(call, header, uploaded).await {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(SendError::Transport(error)) => Err(Failure::Transport(error)),
            Err(SendError::Config(error)) => Err(Failure::Final(error.into())),
        }
    }

    /// Asks until there is an answer that means something. Only for what may be asked twice.
    pub(crate) async fn ask(
        &self,
        call: &Call,
        scope: &Scope,
        action: &str,
        on_retry: OnRetry<'_>,
    ) -> Result<Answer, DistributionError> {
        let mut failed = 0;
        loop {
            failed += 1;
            let (error, asked) = match self.exchange(call, scope, action, &|_| {}).await {
                Ok(answer) if !is_temporary(answer.response.status()) => return Ok(answer),
                Ok(answer) => {
                    let asked = retry_after(answer.response.headers());
                    (self.refused(action, answer).await, asked)
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transport(error)) => {
                    let again = self.may_retry(&error);
                    let error = error.into_error(&self.host, action, failed);
                    if !again {
                        return Err(error);
                    }
                    (error, None)
                }
            };
            let Some(wait) = self.backoff.wait(failed, asked) else {
                return Err(error);
            };
            on_retry(&reason(&error), wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether it may work later. Nobody waits for a registry that has never been there.
    pub(crate) fn may_retry(&self, error: &TransportError) -> bool {
        error.is_temporary() && (!error.is_connect() || self.reached.load(Ordering::Relaxed))
    }

    /// An answer of an unexpected status, as an error.
    pub(crate) async fn refused(&self, action: &str, mut answer: Answer) -> DistributionError {
        let status = answer.response.status();
        let body = self.transport.small_body(&mut answer.response).await;
        let says = errors_of_registry::text(&body);
        let host = self.host.clone();
        if status == StatusCode::FORBIDDEN && !answer.elsewhere {
            return DistributionError::Denied {
                host,
                who: self.auth.who().await,
                action: action.to_owned(),
                says,
            };
        }
        let says = if answer.elsewhere && says.is_empty() {
            "the answer is from where it redirects to".to_owned()
        } else {
            says
        };
        DistributionError::Refused {
            host,
            action: action.to_owned(),
            status: status.as_u16(),
            says,
        }
    }

    pub(crate) fn protocol(&self, action: &str, problem: impl Into<String>) -> DistributionError {
        DistributionError::Protocol {
            host: self.host.clone(),
            action: action.to_owned(),
            problem: problem.into(),
        }
    }
}

impl From<DistributionError> for Failure {
    fn from(error: DistributionError) -> Self {
        Self::Final(error)
    }
}

/// An error in one line, for the note about a retry.
pub(crate) fn reason(error: &DistributionError) -> String {
    berth_error::chain(error)
}
