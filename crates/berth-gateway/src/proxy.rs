//! One request from the client to the upstream and its response back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RequestEvent;
use crate::body::{Lease, ProxyBody};
use crate::gate::{Gate, Kind, Pass};
use crate::headers::{self, Client};
use crate::pool::UpstreamError;
use crate::request_body::RequestBody;
use crate::server::{Shared, Slot};
use crate::site::Site;

/// The status in reports of a request whose client went away first, as nginx has it.
const CLIENT_CLOSED: u16 = 499;
/// Size of each buffer of a tunnel, in bytes.
const TUNNEL_BUFFER: usize = 16 * 1024;

/// Within this time it is known that an upstream has died that refuses connections.
const NOTICE_LIMIT: Duration = Duration::from_secs(2);

/// What the requests of one client connection share.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Arc<Client>,
    /// Requests are sent to the same place with TLS at this port.
    pub(crate) redirect: Option<u16>,
    pub(crate) tunnels: TaskTracker,
    pub(crate) slot: Slot,
    pub(crate) closed: CancellationToken,
}

/// Reports a request when it is answered, or when it is dropped because its client went away.
struct Report {
    shared: Arc<Shared>,
    method: Method,
    path: String,
    site: Option<Arc<str>>,
    start: Instant,
    status: u16,
}

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.shared.events.send(RequestEvent {
            method: self.method.to_string(),
            path: std::mem::take(&mut self.path),
            site: self.site.take(),
            status: self.status,
            duration: self.start.elapsed(),
        });
    }
}

impl Proxy {
    /// Answers one request. Never fails: what goes wrong becomes a response.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response<ProxyBody> {
        let path = request.uri().path_and_query();
        let mut report = Report {
            shared: Arc::clone(&self.shared),
            method: request.method().clone(),
            path: path.map_or("*", |path| path.as_str()).to_owned(),
            site: None,
            start: Instant::now(),
            // Until there is a response.
            status: CLIENT_CLOSED,
        };
        let ray = headers::ray();
        let mut response = self.respond(request, &ray, &mut report.site).await;
        report.status = response.status().as_u16();
        response.headers_mut().insert(headers::RAY, ray);
        response
    }

    /// Says whose the request is as soon as it is known: the answer may never be waited for.
    async fn respond(
        self,
        request: Request<Incoming>,
        ray: &HeaderValue,
        of: &mut Option<Arc<str>>,
    ) -> Response<ProxyBody> {
        if let Some(answer) = self.shared.challenges.answer(request.uri().path()) {
            return own(StatusCode::OK, answer);
        }
        let request = match checked(as_upgrade(request)) {
            Ok(request) => request,
            Err(reason) => return own(StatusCode::BAD_REQUEST, reason.to_owned()),
        };
        if let Some(port) = self.redirect {
            return redirection(&request, port);
        }
        let config = &self.shared.config;
        let most = usize::try_from(config.max_headers).unwrap_or(usize::MAX);
        if request.headers().len() > most {
            let text = format!("The request has more than {most} headers.\n");
            return own(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text);
        }
        let length = request.body().size_hint().exact().unwrap_or(0);
        if config.max_body_size.is_some_and(|most| length > most) {
            return refusal(&UpstreamError::TooLarge);
        }
        match self.site(&request) {
            Some(site) => {
                of.clone_from(&site.name);
                self.forward(request, &site, ray).await
            }
            None => nobody(&request),
        }
    }

    /// The application that it is for.
    fn site(&self, request: &Request<Incoming>) -> Option<Arc<Site>> {
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.shared.sites.find(host, request.uri().path())
    }

    async fn forward(
        self,
        mut request: Request<Incoming>,
        site: &Arc<Site>,
        ray: &HeaderValue,
    ) -> Response<ProxyBody> {
        let http2 = request.version() == Version::HTTP_2;
        let upgrade = headers::upgrade(request.headers());
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::remove_hop_by_hop(request.headers_mut());
        headers::join_cookies(request.headers_mut());
        let config = &self.shared.config;
        self.client
            .describe(request.headers_mut(), &config.trusted_proxies, ray);
        // hyper answers `Expect: 100-continue` itself as soon as the body is read.
        request.headers_mut().remove(header::EXPECT);
        if let Some(protocol) = upgrade {
            set_upgrade(request.headers_mut(), protocol);
        }
        *request.version_mut() = Version::HTTP_11;
        let (most, pause) = (config.max_body_size, config.body_timeout);
        let request = request.map(|body| RequestBody::new(body, most, pause));
        match sent(request, site).await {
            Ok((response, pass, lease)) => match client {
                Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    self.tunnel(response, client, pass, http2)
                }
                _ => passed_on(response, pass, lease),
            },
            Err(response) => *response,
        }
    }

    /// Joins the two connections once both sides have switched protocols.
    fn tunnel(
        self,
        mut response: Response<Incoming>,
        client: OnUpgrade,
        pass: Pass,
        http2: bool,
    ) -> Response<ProxyBody> {
        // A WebSocket may last for days: whoever waits for requests does not wait for it.
        let pass = pass.becomes(Kind::Tunnel);
        let server = hyper::upgrade::on(&mut response);
        let (closed, slot) = (self.closed.clone(), self.slot);
        self.tunnels.spawn(async move {
            let _held = (pass, slot);
            let joined = async {
                let (client, server) = tokio::try_join!(client, server)?;
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let sizes = (TUNNEL_BUFFER, TUNNEL_BUFFER);
                tokio::io::copy_bidirectional_with_sizes(
                    &mut client,
                    &mut server,
                    sizes.0,
                    sizes.1,
                )
                .await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            };
            if let Some(Err(error)) = closed.run_until_cancelled(joined).await {
                tracing::trace!(%error, "a tunnel broke");
            }
        });
        let protocol = headers::upgrade(response.headers());
        let (mut head, _) = response.into_parts();
        headers::remove_hop_by_hop(&mut head.headers);
        if http2 {
            // What HTTP/1.1 says in headers is in the protocol itself (RFC 8441).
            head.status = StatusCode::OK;
            head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        } else if let Some(protocol) = protocol {
            set_upgrade(&mut head.headers, protocol);
        }
        Response::from_parts(head, ProxyBody::empty())
    }
}

/// Sends a request; the upstream's response, or the one that there is instead.
///
/// An upstream that refuses connections may just have died, which its supervisor says soon: what
/// has not been sent waits for the next one.
async fn sent(
    mut request: Request<RequestBody>,
    site: &Arc<Site>,
) -> Result<(Response<Incoming>, Pass, Lease), Box<Response<ProxyBody>>> {
    let deadline = Instant::now() + site.hold_limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (upstream, pass) = Gate::enter(site, left).await.ok_or_else(not_running)?;
        let triggers = site.triggers_for(request.uri().path());
        let pool = triggers.unwrap_or_else(|| Arc::clone(&upstream));
        let failed = match pool.send(request).await {
            Ok((response, connection)) => {
                let lease = Lease {
                    pool,
                    connection: Some(connection),
                    finished: false,
                };
                return Ok((response, pass, lease));
            }
            Err(failed) => failed,
        };
        // Nobody who drains the gate waits for what waits here.
        drop(pass);
        match failed.unsent {
            Some(unsent) if site.gate.turned_from(&upstream, NOTICE_LIMIT).await => {
                request = unsent;
            }
            _ => return Err(Box::new(refusal(&failed.error))),
        }
    }
}

/// A WebSocket that HTTP/2 asks for with `CONNECT` (RFC 8441), as HTTP/1.1 asks for it.
fn as_upgrade(mut request: Request<Incoming>) -> Request<Incoming> {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    let websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    if !websocket || request.method() != Method::CONNECT {
        return request;
    }
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    set_upgrade(headers, HeaderValue::from_static("websocket"));
    let key = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    request
}

/// The request in the form that is sent on, or why it is none: a path, and a `Host`.
fn checked(mut request: Request<Incoming>) -> Result<Request<Incoming>, &'static str> {
    if request.method() == Method::CONNECT {
        return Err("This is not a proxy.\n");
    }
    let Some(path) = request.uri().path_and_query().cloned() else {
        return Err("The request has no path.\n");
    };
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.map_err(|_| "The host is not valid.\n")?;
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = path.into();
    if !request.headers().contains_key(header::HOST) {
        if request.version() == Version::HTTP_11 {
            return Err("The request has no Host header.\n");
        }
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

fn set_upgrade(headers: &mut http::HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

fn passed_on(response: Response<Incoming>, pass: Pass, lease: Lease) -> Response<ProxyBody> {
    let (mut head, incoming) = response.into_parts();
    headers::remove_hop_by_hop(&mut head.headers);
    let pass = if headers::is_event_stream(&head.headers) {
        pass.becomes(Kind::Events)
    } else {
        pass
    };
    Response::from_parts(head, ProxyBody::streamed(incoming, Some(pass), lease))
}

/// The same request belongs to the same host with TLS.
fn redirection(request: &Request<Incoming>, port: u16) -> Response<ProxyBody> {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = crate::sites::without_port(host);
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let location = HeaderValue::from_str(&format!("https://{host}{port}{}", request.uri()));
    let Ok(location) = location else {
        return own(
            StatusCode::BAD_REQUEST,
            "The host is not valid.\n".to_owned(),
        );
    };
    // Anything but reading is repeated as it is.
    let status = match *request.method() {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let mut response = own(status, String::new());
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The response to what no application is for.
fn nobody(request: &Request<Incoming>) -> Response<ProxyBody> {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let text = format!("No application answers for `{host}` here.\n");
    own(StatusCode::NOT_FOUND, text)
}

fn not_running() -> Box<Response<ProxyBody>> {
    let text = "The Worker is not running: it did not come back in time.\n";
    let mut response = own(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    let seconds = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    Box::new(response)
}

/// The response to what could not be sent.
fn refusal(error: &UpstreamError) -> Response<ProxyBody> {
    let status = match error {
        UpstreamError::Connect(_) | UpstreamError::Broken(_) => StatusCode::BAD_GATEWAY,
        UpstreamError::Malformed(_) => StatusCode::BAD_REQUEST,
        UpstreamError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        UpstreamError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        // Nobody reads it: this is for the report.
        UpstreamError::Abandoned(_) => {
            StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST)
        }
    };
    let cause = std::error::Error::source(error);
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    own(status, format!("{error}{cause}\n"))
}

fn own(status: StatusCode, text: String) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::text(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
