//! The listener and the clients' connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RequestEvent;
use crate::headers;
use crate::proxy::Proxy;
use crate::sites::Sites;

/// How long a client may take to send the head of a request, once it has begun.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Pause after a failed `accept`, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sites: Arc<Sites>,
    pub(crate) events: mpsc::UnboundedSender<RequestEvent>,
}

/// Accepts until `closing`.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: TaskTracker,
    closing: CancellationToken,
    closed: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let proxy = Proxy {
                    shared: Arc::clone(&shared),
                    client: headers::client_value(address.ip()),
                    tunnels: connections.clone(),
                    closed: closed.clone(),
                };
                connections.spawn(serve(stream, proxy, closing.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until its client leaves or the gateway closes.
async fn serve(stream: TcpStream, proxy: Proxy, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let closed = proxy.closed.clone();
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        biased;
        () = closed.cancelled() => return,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = closed.cancelled() => return,
                result = connection => result,
            }
        }
        result = connection.as_mut() => result,
    };
    if let Err(error) = result {
        tracing::trace!(%error, "a client's connection ended");
    }
}
