//! Calls of the API and what comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::multipart::Form;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{ClientError, Refusal, Server, tls};

/// A server that is there answers a connection at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two bytes of an answer: the server may be pulling an image or starting a Worker.
const READ_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// What stays as it is in a part of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Server,
    http: reqwest::Client,
    account: OnceCell<String>,
}

/// What goes with a call.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes with their `Content-Type`, unless it is a header of the call.
    Bytes(&'static str, Bytes),
    /// So many bytes of a file, which is not read into memory. Its `Content-Type`, if it has one, is a header
    /// of the call.
    File(tokio::fs::File, u64),
    /// A form.
    Form(Form),
}

/// A call that is being put together.
#[derive(Debug)]
pub struct Call<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    of_account: bool,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Result<Body, ClientError>,
}

impl Client {
    /// A client of a server. Nothing is sent yet.
    ///
    /// # Errors
    /// A certificate authority that is named cannot be read.
    pub fn new(server: Server) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config()?)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A token is shown to nobody else.
            .redirect(reqwest::redirect::Policy::none());
        if is_local(&server.api) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        let account = OnceCell::new_with(server.account.clone());
        let inner = Inner {
            server,
            http,
            account,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// Host of the server's API, with its port if one is written: its registry is there, too.
    pub fn authority(&self) -> &str {
        let api = &self.inner.server.api;
        let after = api
            .split_once("://")
            .map_or(api.as_str(), |(_, after)| after);
        after.split('/').next().unwrap_or(after)
    }

    /// Id of the account; the server is asked once if nothing says it.
    ///
    /// # Errors
    /// Those of a call.
    pub async fn account(&self) -> Result<&str, ClientError> {
        let account = self.inner.account.get_or_try_init(|| async {
            let accounts: Value = self.at(Method::GET, "/accounts").send().await?;
            let first = accounts[0]["id"].as_str();
            first
                .map(str::to_owned)
                .ok_or_else(|| ClientError::Foreign {
                    url: self.url("/accounts"),
                    status: 200,
                })
        });
        Ok(account.await?)
    }

    /// A call below the account: `workers/scripts`. Parts of the path that come from elsewhere go
    /// through [`segment`].
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        self.start(method, path.into(), true)
    }

    /// A call of a path of its own: `/user/tokens`.
    pub fn at(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        self.start(method, path.into(), false)
    }

    /// `GET` below the account.
    ///
    /// # Errors
    /// Those of [`Call::send`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
    ) -> Result<T, ClientError> {
        self.call(Method::GET, path).send().await
    }

    fn start(&self, method: Method, path: String, of_account: bool) -> Call<'_> {
        Call {
            client: self,
            method,
            path,
            of_account,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Ok(Body::Empty),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.inner.server.api)
    }

    /// The header that shows the token.
    pub(crate) fn authorization(&self) -> Result<HeaderValue, ClientError> {
        let value = format!("Bearer {}", self.inner.server.token);
        let value = HeaderValue::try_from(value);
        let mut value =
            value.map_err(|_| ClientError::Setup("the token has impossible characters".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Call<'_> {
    /// Adds to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With JSON.
    #[must_use]
    pub fn json(mut self, value: &impl Serialize) -> Self {
        let url = self.client.url(&self.path);
        self.body = serde_json::to_vec(value)
            .map(|bytes| Body::Bytes("application/json", bytes.into()))
            .map_err(|source| ClientError::Answer { url, source });
        self
    }

    /// With anything.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = Ok(body);
        self
    }

    /// Sends it; the `result` of the answer.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or answers something else.
    pub async fn send<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let client = self.client;
        let (url, response) = self.exchange().await?;
        let status = response.status().as_u16();
        let body = response
            .bytes()
            .await
            .map_err(|error| client.broken(error))?;
        let result = envelope(&url, status, &body)?;
        serde_json::from_value(result).map_err(|source| ClientError::Answer { url, source })
    }

    /// Sends it; the answer as it is, whose status is one of success.
    ///
    /// # Errors
    /// Those of [`Call::send`].
    pub async fn stream(self) -> Result<reqwest::Response, ClientError> {
        let client = self.client;
        let (url, response) = self.exchange().await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response
            .bytes()
            .await
            .map_err(|error| client.broken(error))?;
        match envelope(&url, status, &body) {
            Err(error) => Err(error),
            Ok(_) => Err(ClientError::Foreign { url, status }),
        }
    }

    async fn exchange(self) -> Result<(String, reqwest::Response), ClientError> {
        let client = self.client;
        let path = if self.of_account {
            let account = Box::pin(client.account()).await?;
            format!("/accounts/{account}/{}", self.path)
        } else {
            self.path
        };
        let url = client.url(&path);
        let mut parsed = reqwest::Url::parse(&url).map_err(|error| ClientError::Address {
            text: url.clone(),
            problem: error.to_string(),
        })?;
        if !self.query.is_empty() {
            parsed.query_pairs_mut().extend_pairs(&self.query);
        }
        let request = client.inner.http.request(self.method, parsed);
        let has_type = self.headers.contains_key(CONTENT_TYPE);
        let request = request
            .headers(self.headers)
            .header(AUTHORIZATION, client.authorization()?);
        let request = match self.body? {
            Body::Empty => request,
            Body::Bytes(_, bytes) if has_type => request.body(bytes),
            Body::Bytes(kind, bytes) => request.header(CONTENT_TYPE, kind).body(bytes),
            Body::File(file, length) => request.header(CONTENT_LENGTH, length).body(file),
            Body::Form(form) => request.multipart(form),
        };
        let sent = request.send().await;
        let response = sent.map_err(|error| client.failed(error))?;
        Ok((url, response))
    }
}

impl Client {
    fn failed(&self, error: reqwest::Error) -> ClientError {
        if error.is_connect() || error.is_timeout() {
            return ClientError::Unreachable {
                api: self.inner.server.api.clone(),
                source: innermost(error),
            };
        }
        self.broken(error)
    }

    fn broken(&self, error: reqwest::Error) -> ClientError {
        ClientError::Broken {
            api: self.inner.server.api.clone(),
            source: innermost(error),
        }
    }
}

/// The last cause: what is around it says that a request for this address failed.
fn innermost(error: reqwest::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().into()
}

/// The `result` of an envelope, or why there is none.
pub(crate) fn envelope(url: &str, status: u16, body: &[u8]) -> Result<Value, ClientError> {
    let foreign = || ClientError::Foreign {
        url: url.to_owned(),
        status,
    };
    let mut answer: Value = serde_json::from_slice(body).map_err(|_| foreign())?;
    match answer["success"].as_bool() {
        Some(true) => Ok(answer["result"].take()),
        Some(false) => {
            let error = &answer["errors"][0];
            let code = error["code"].as_u64().and_then(|code| code.try_into().ok());
            let message = error["message"].as_str().unwrap_or("the server refuses");
            Err(ClientError::Refused(Refusal {
                status,
                code: code.unwrap_or_default(),
                message: message.to_owned(),
            }))
        }
        None => Err(foreign()),
    }
}

/// Text as one part of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A machine's own server is reached directly, whatever proxy is set.
fn is_local(api: &str) -> bool {
    let url = reqwest::Url::parse(api).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str);
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}
