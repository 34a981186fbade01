//! Doors for the fuzz targets, which exist only when they are built (`cargo xtask fuzz`).
//!
//! Each function takes hostile bytes the way they arrive and checks what must hold for any.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::{CreateContainer, CreateExec, StartExec, UpdateEgress, collect, decode};
use crate::environment::{RealValues, resolve_placeholders};
use crate::filters::{Candidate, Filters};
use crate::frame::{FrameDecoder, StreamKind, encode};
use crate::names::ParsedName;
use crate::query::{Query, segments};
use crate::respond::{Body, empty};
use crate::sidecar::{NoTunnel, is_sidecar};
use crate::{Applications, Identity};

/// Frames of `pieces`, as an exec sends them.
pub fn frames(pieces: &[(StreamKind, &[u8])]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (stream, payload) in pieces {
        encode(*stream, payload, &mut bytes);
    }
    bytes
}

/// The other side's decoder.
pub fn frame_decoder() -> FrameDecoder {
    FrameDecoder::default()
}

/// An ingress to a container in which nothing listens.
struct Nobody;

impl crate::sidecar::IngressService for Nobody {
    type Traffic = ();

    async fn connect(&self, _port: u16) -> Result<(TcpStream, ()), NoTunnel> {
        Err(NoTunnel::NotListening("nothing listens".to_owned()))
    }

    fn configure(&self, _update: UpdateEgress) {}

    fn carried(&self, _traffic: &(), _piece: crate::sidecar::Carried<'_>) {}

    fn gives_way(&self, _traffic: &()) -> bool {
        false
    }

    fn traced(&self, _: crate::trace::Step) {}

    fn ca_pem(&self) -> String {
        String::new()
    }
}

/// What the ingress of a sidecar answers to a connection that sends `bytes` and ends.
pub async fn ingress(bytes: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(1 << 16);
    let served = crate::sidecar::serve_ingress_stream(
        server,
        Arc::new(Nobody),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    tokio::join!(served, exchange(client, bytes)).1
}

/// What a server of the Docker API, one that only parses, answers to a connection that sends
/// `bytes` and ends.
pub async fn api(bytes: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(1 << 16);
    let handler = service_fn(|request| async { Ok::<_, Infallible>(parse(request).await) });
    let served = http1::Builder::new().serve_connection(TokioIo::new(server), handler);
    tokio::join!(served, exchange(client, bytes)).1
}

async fn exchange(client: DuplexStream, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(client);
    let written = async {
        // The server may give up before all is written.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let mut answer = Vec::new();
    let read = async {
        let _ = read.read_to_end(&mut answer).await;
    };
    tokio::join!(written, read);
    answer
}

async fn parse(request: Request<Incoming>) -> Response<Body> {
    let nothing = Applications {
        applications: Vec::new(),
        identity: Identity {
            deployment_id: String::new(),
            location: String::new(),
            region: String::new(),
            country: String::new(),
            node_id: String::new(),
        },
        starts_per_second: None,
    };
    let path = segments(request.uri().path());
    for name in &path {
        let parsed = ParsedName::parse(name, &nothing);
        assert_eq!(parsed.display_name(name), name.as_str());
    }
    let query = Query::parse(request.uri().query());
    let _ = (query.flag("force"), query.number::<u16>("h"));
    if let Ok(filters) = Filters::parse(query.get("filters")) {
        filters.matches(&Candidate {
            id: "0123",
            name: "workerd-a",
            image: "app:latest",
            image_id: "sha256:0123",
            status: "running",
            labels: &BTreeMap::new(),
        });
    }
    let Ok(body) = collect(request.into_body()).await else {
        return empty(http::StatusCode::BAD_REQUEST);
    };
    let created = decode::<CreateContainer>(&body);
    if let Ok(created) = &created {
        is_sidecar("workerd-a-proxy", created);
        let real = RealValues {
            application_id: None,
            deployment_id: "d",
            object_id: None,
            location: "l",
            region: "r",
            country: "c",
            node_id: "n",
            placement_id: "p",
        };
        resolve_placeholders(created.env.clone(), &real);
    }
    let understood = [
        created.is_ok(),
        decode::<CreateExec>(&body).is_ok(),
        decode::<StartExec>(&body).is_ok(),
        decode::<UpdateEgress>(&body).is_ok(),
    ];
    if understood.contains(&true) {
        empty(http::StatusCode::OK)
    } else {
        empty(http::StatusCode::BAD_REQUEST)
    }
}
