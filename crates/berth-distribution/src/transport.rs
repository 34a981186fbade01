//! HTTP to one registry and to where it redirects: TLS settings, deadlines, redirects.
//!
//! Invariants: what identifies the user goes to the origin that was asked, and ends where a redirect
//! leaves it; TLS is never given up on the way; nothing waits without a deadline.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{HostConfig, Registries};

mod body;
mod failure;
mod tls;

pub(crate) use body::FilePart;
pub use failure::TransportError;

/// Most redirects for one request.
const MAX_REDIRECTS: usize = 5;
/// How long a registry may take to answer when it has everything: it may have to move a large blob.
const MAX_THINKING: Duration = Duration::from_secs(300);
/// How often an upload is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Largest error or token document.
const MAX_SMALL_BODY: u64 = 1 << 20;

/// Clients for every host, made when they are first needed.
#[derive(Debug)]
pub(crate) struct Transport {
    registries: Registries,
    connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

/// One request, which can be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// What is sent along.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    File(FilePart),
}

/// An answer, and whether it is from the origin that was asked.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// A redirect led to another origin.
    pub(crate) elsewhere: bool,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
        }
    }

    pub(crate) fn header(mut self, name: reqwest::header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

impl Transport {
    pub(crate) fn new(
        registries: Registries,
        connect_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            registries,
            connect_timeout,
            idle_timeout,
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// Sends a request and follows where it is redirected. `uploaded` hears of sent bytes.
    pub(crate) async fn send(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        uploaded: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Answer, SendError> {
        let mut url = call.url.clone();
        let mut elsewhere = false;
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .send_once(call, &url, elsewhere, authorization, uploaded)
                .await?;
            if !is_redirect(response.status()) {
                return Ok(Answer {
                    response,
                    elsewhere,
                });
            }
            if !matches!(call.method, Method::GET | Method::HEAD) {
                return Err(TransportError::redirect("redirects what is being sent to it").into());
            }
            url = redirected(&url, response.headers())?;
            elsewhere |= !same_origin(&url, &call.url);
        }
        Err(TransportError::redirect(format!("redirects more than {MAX_REDIRECTS} times")).into())
    }

    async fn send_once(
        &self,
        call: &Call,
        url: &Url,
        elsewhere: bool,
        authorization: Option<&HeaderValue>,
        uploaded: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Response, SendError> {
        let client = self.client(url).await?;
        let mut request = reqwest::Request::new(call.method.clone(), url.clone());
        *request.headers_mut() = call.headers.clone();
        if elsewhere {
            request.headers_mut().remove(AUTHORIZATION);
        } else if let Some(value) = authorization {
            let mut value = value.clone();
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let sent = Arc::new(AtomicU64::new(0));
        let length = match &call.payload {
            Payload::Empty => {
                if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
                    *request.body_mut() = Some(Bytes::new().into());
                }
                0
            }
            Payload::Bytes(bytes) => {
                *request.body_mut() = Some(bytes.clone().into());
                0
            }
            Payload::File(part) => {
                let body = part.open(Arc::clone(&sent)).await;
                *request.body_mut() = Some(body.map_err(TransportError::file)?);
                part.length
            }
        };
        let sending = client.execute(request);
        let response = self.watch(sending, &sent, length, uploaded).await?;
        Ok(response.map_err(TransportError::from)?)
    }

    /// Waits for an answer as long as something happens.
    async fn watch<T>(
        &self,
        sending: impl Future<Output = T>,
        sent: &AtomicU64,
        length: u64,
        uploaded: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<T, TransportError> {
        let mut sending = std::pin::pin!(sending);
        let (mut last, mut since) = (0, Instant::now());
        loop {
            tokio::select! {
                answer = &mut sending => return Ok(answer),
                () = tokio::time::sleep(TICK) => {}
            }
            let now = sent.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
                uploaded(now);
            }
            let patience = if length > 0 && now >= length {
                MAX_THINKING.max(self.idle_timeout)
            } else {
                self.idle_timeout
            };
            if since.elapsed() >= patience {
                return Err(TransportError::timeout(patience));
            }
        }
    }

    /// The next bytes of a body; `None` at its end.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, TransportError> {
        match tokio::time::timeout(self.idle_timeout, response.chunk()).await {
            Ok(chunk) => chunk.map_err(TransportError::from),
            Err(_) => Err(TransportError::timeout(self.idle_timeout)),
        }
    }

    /// A whole body of at most `limit` bytes; `None`: it is larger.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        if response
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Ok(None);
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }

    /// The body of a refusal or a token: as much of it as is sensible.
    pub(crate) async fn small_body(&self, response: &mut Response) -> Vec<u8> {
        match self.body(response, MAX_SMALL_BODY).await {
            Ok(Some(body)) => body,
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    /// What is configured of the host of a URL.
    pub(crate) fn config(&self, url: &Url) -> HostConfig {
        let name = authority(url);
        if name == crate::endpoint::HUB_ENDPOINT {
            return self.registries.host(crate::endpoint::HUB);
        }
        self.registries.host(&name)
    }

    /// Whether this URL may be asked without TLS.
    pub(crate) fn may_be_plain(&self, url: &Url) -> bool {
        is_loopback(url) || self.config(url).plain_http
    }

    async fn client(&self, url: &Url) -> Result<reqwest::Client, SendError> {
        let config = self.config(url);
        let key = match (&config.ca, config.skip_verify) {
            (None, false) => String::new(),
            _ => authority(url),
        };
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.make_client(config.ca.as_deref(), config.skip_verify)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn make_client(
        &self,
        ca: Option<&Path>,
        skip_verify: bool,
    ) -> Result<reqwest::Client, SendError> {
        let tls = tls::config(ca, skip_verify)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(client.map_err(TransportError::from)?)
    }
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum SendError {
    /// On the way.
    Transport(TransportError),
    /// Before it was sent.
    Config(crate::config::ConfigError),
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<crate::config::ConfigError> for SendError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Config(error)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, if one may go there.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, TransportError> {
    let location = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| TransportError::redirect("redirects to nowhere"))?;
    let url = from
        .join(location)
        .map_err(|_| TransportError::redirect("redirects to what is no URL"))?;
    match (from.scheme(), url.scheme()) {
        ("https", "https") | ("http", "https" | "http") => Ok(url),
        ("https", "http") => Err(TransportError::redirect("redirects to a URL without TLS")),
        _ => Err(TransportError::redirect("redirects to what is not HTTP")),
    }
}

pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// `host` or `host:port`, as image names have it.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a URL leads to this machine: the only place where nobody can listen in on plain HTTP.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The innermost reason of an error.
fn root_cause(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn redirects_keep_tls_and_need_a_place_to_go() {
        let go = |from: &str, to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, to.parse().unwrap());
            redirected(&url(from), &headers).map(|url| url.to_string())
        };
        assert_eq!(go("https://a/x", "/y").unwrap(), "https://a/y");
        assert_eq!(go("http://a/x", "https://b/y").unwrap(), "https://b/y");
        assert!(go("https://a/x", "http://a/y").is_err());
        assert!(go("https://a/x", "file:///etc/passwd").is_err());
        assert!(redirected(&url("https://a"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn origins_have_scheme_host_and_port() {
        assert!(same_origin(&url("https://a/x"), &url("https://a:443/y")));
        for other in ["http://a", "https://b", "https://a:444", "https://a.b"] {
            assert!(!same_origin(&url("https://a"), &url(other)), "{other}");
        }
        assert_eq!(authority(&url("http://a:5000/x")), "a:5000");
        assert!(is_loopback(&url("http://127.3.2.1:5000")));
        assert!(is_loopback(&url("http://[::1]:5000")));
        assert!(is_loopback(&url("http://localhost")));
        assert!(!is_loopback(&url("http://localhost.example.com")));
        assert!(!is_loopback(&url("http://10.0.0.1")));
    }
}
