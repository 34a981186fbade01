//! The ingress of a sidecar: `CONNECT` into the container, `PUT /egress`, `GET /ca`.
//!
//! Protocol (workerd 1.20261117.1): one request per connection; `X-Dst-Addr: 127.0.0.1:<port>` says
//! where to, the request target does not matter; after `200` bytes flow both ways. workerd pools
//! tunnels, so this is the way of every warm request, but the handshake is not.
//!
//! A refused connection is answered with 503 and a body that holds two sentences: workerd's own
//! ("Container is not listening to port N"), and the one that `@cloudflare/containers` looks for
//! ("the container is not listening"). With workerd's alone the class does not recognise the
//! failure, keeps polling and in the end waits for ever on a healthy container.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard;
use super::relay::{Carried, Ended, relay, reset_on_close};
use crate::body::{UpdateEgress, collect, decode};
use crate::respond::{Body, empty, typed};
use crate::trace::{Phase, Step};

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum NoTunnel {
    /// Nothing listens (yet); the cause is for our log.
    NotListening(String),
    /// The container could not be started; the client is told why.
    NotStarted(String),
}

/// What an ingress leads to.
pub(crate) trait Service: Send + Sync + 'static {
    /// What is kept with an open tunnel and dropped with it.
    type Traffic: Send + Sync + 'static;
    /// Connects to a port inside; dropped when the client hangs up.
    fn connect(
        &self,
        port: u16,
    ) -> impl Future<Output = Result<(TcpStream, Self::Traffic), NoTunnel>> + Send;
    /// Applies an update before it returns.
    fn configure(&self, update: UpdateEgress);
    /// Hears of every piece that a tunnel carried.
    fn carried(&self, traffic: &Self::Traffic, piece: Carried<'_>);
    /// Whether another container is to take the place of the one that a tunnel leads to.
    fn gives_way(&self, traffic: &Self::Traffic) -> bool;
    /// Hears what each step of a start took.
    fn traced(&self, step: Step);
    /// The certificate authority of intercepted TLS.
    fn ca_pem(&self) -> String;
}

/// Accepts until cancelled; tunnels end then too. Other users' connections are closed unanswered.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, service.clone(), tasks.clone(), cancel.clone());
                let cancel = cancel.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = cancel.cancelled() => (),
                        () = connection => (),
                    }
                });
            }
            Err(error) => crate::server::after_accept_error(&error).await,
        }
    }
}

async fn connection<S: Service>(
    stream: TcpStream,
    service: Arc<S>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    if !guard::admits(&stream) {
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "ingress connection without TCP_NODELAY");
    }
    serve_stream(stream, service, tasks, cancel).await;
}

/// Serves one connection, whatever carries it.
pub(crate) async fn serve_stream<S: Service, I>(
    stream: I,
    service: Arc<S>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = service_fn(move |request| {
        let (service, tasks, cancel) = (service.clone(), tasks.clone(), cancel.clone());
        async move { Ok::<_, Infallible>(handle(request, service, tasks, cancel).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "ingress connection");
    }
}

async fn handle<S: Service>(
    request: Request<Incoming>,
    service: Arc<S>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) -> Response<Body> {
    let begun = Instant::now();
    let traced = |what| service.traced(Step::since(begun, Phase::Call, what));
    match (request.method(), request.uri().path()) {
        (&Method::CONNECT, _) => connect(request, service, &tasks, cancel).await,
        (&Method::PUT, "/egress") => {
            let response = configure(request, &*service).await;
            traced("PUT {sidecar}/egress");
            response
        }
        (&Method::GET, "/ca") => {
            let pem = service.ca_pem();
            traced("GET {sidecar}/ca");
            typed(StatusCode::OK, "application/x-pem-file", pem)
        }
        (&(Method::PUT | Method::GET), _) => empty(StatusCode::NOT_FOUND),
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn configure<S: Service>(request: Request<Incoming>, service: &S) -> Response<Body> {
    let update = match collect(request.into_body()).await {
        Ok(body) => decode::<UpdateEgress>(&body),
        Err(error) => Err(error),
    };
    match update {
        Ok(update) if update == UpdateEgress::default() || update.port == Some(0) => {
            empty(StatusCode::BAD_REQUEST)
        }
        Ok(update) => {
            service.configure(update);
            empty(StatusCode::NO_CONTENT)
        }
        Err(error) => typed(StatusCode::BAD_REQUEST, "text/plain", error.message),
    }
}

async fn connect<S: Service>(
    mut request: Request<Incoming>,
    service: Arc<S>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Response<Body> {
    let Some(target) = destination(request.headers()) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let begun = Instant::now();
    let connected = service.connect(target.port()).await;
    let outcome = if connected.is_ok() { "" } else { ", refused" };
    let what = format!("port {}{outcome}", target.port());
    service.traced(Step::since(begun, Phase::Hold, what));
    match connected {
        Ok((app, traffic)) => {
            let tunnel = tunnel(upgrade, app, target.port(), traffic, service);
            tasks.spawn(async move {
                tokio::select! {
                    () = cancel.cancelled() => (),
                    () = tunnel => (),
                }
            });
            empty(StatusCode::OK)
        }
        Err(cause) => {
            let text = match cause {
                NoTunnel::NotListening(cause) => {
                    tracing::debug!(%target, cause, "refused a tunnel");
                    not_listening(target)
                }
                NoTunnel::NotStarted(reason) => reason,
            };
            typed(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
        }
    }
}

/// Both sentences; see the module's documentation.
fn not_listening(target: SocketAddr) -> String {
    format!(
        "the container is not listening in the TCP address {target} \
         (Container is not listening to port {})",
        target.port()
    )
}

fn destination(headers: &HeaderMap) -> Option<SocketAddr> {
    headers
        .get("x-dst-addr")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

async fn tunnel<S: Service>(
    upgrade: OnUpgrade,
    mut app: TcpStream,
    port: u16,
    mut traffic: S::Traffic,
    service: Arc<S>,
) {
    let (begun, answered) = (Instant::now(), AtomicBool::new(false));
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the client left before its tunnel was open");
            return;
        }
    };
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an ingress connection is not a TCP stream");
        return;
    };
    let (client, mut early) = (io.into_inner(), read_buf.to_vec());
    loop {
        let meter = |piece: Carried<'_>| {
            if matches!(piece, Carried::Out(_)) && !answered.swap(true, Ordering::Relaxed) {
                let what = format!("port {port}");
                service.traced(Step::since(begun, Phase::FirstByte, what));
            }
            service.carried(&traffic, piece);
        };
        let gives_way = || service.gives_way(&traffic);
        match relay(&client, &app, &early, meter, gives_way).await {
            Ended::Over => return,
            Ended::Next(request) => early = request,
        }
        // The former container sees that its client is gone.
        drop(app);
        drop(traffic);
        match service.connect(port).await {
            Ok(next) => (app, traffic) = next,
            Err(cause) => {
                tracing::debug!(?cause, port, "no other container took a tunnel over");
                return reset_on_close(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests;
