//! Doors for the fuzz targets, which exist only when they are built (`cargo xtask fuzz`).
//!
//! Each function takes hostile bytes the way they arrive and checks what must hold for any; the
//! targets add what other implementations say of the same bytes.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ca::Ca;
use crate::dns::{self, Transport};
use crate::egress::{Verdict, sniff};
use crate::network::Shared;
use crate::usage::Counters;
use crate::{DnsPolicy, Egress, NetworkOptions, Upstream};

/// What the first bytes of a connection say about whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// More are needed.
    Incomplete,
    /// A TLS hello for this name.
    Tls(String),
    /// An HTTP/1 request for this host.
    Http(String),
    /// Nobody is named.
    Unknown,
    /// TLS, but whom it names cannot be read: refused.
    Unreadable,
}

/// Looks at the first bytes of a connection to `port`.
///
/// # Panics
///
/// When a name could break out of the header that it is sent on in, or when fewer of the bytes say
/// something else than all of them: how the bytes were cut into packets must not matter.
pub fn first_bytes(bytes: &[u8], port: u16) -> FirstBytes {
    let verdict = sniff(bytes, port);
    if let Verdict::Tls(name) | Verdict::Http(name) = &verdict {
        assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()),
            "{name:?}"
        );
    }
    // Looking at every cut would be quadratic.
    let step = bytes.len() / 16 + 1;
    for end in (0..bytes.len()).step_by(step) {
        let earlier = sniff(&bytes[..end], port);
        assert!(
            earlier == Verdict::Incomplete || earlier == verdict,
            "{end} of {} bytes: {earlier:?}, all: {verdict:?}",
            bytes.len()
        );
    }
    match verdict {
        Verdict::Incomplete => FirstBytes::Incomplete,
        Verdict::Tls(name) => FirstBytes::Tls(name),
        Verdict::Http(host) => FirstBytes::Http(host),
        Verdict::Unknown => FirstBytes::Unknown,
        Verdict::Unreadable => FirstBytes::Unreadable,
    }
}

/// A resolver that asks nobody.
#[derive(Debug)]
pub struct Resolver(Arc<Shared>);

impl Resolver {
    /// With the internet off and `allowed` names, or on without anybody to ask.
    pub fn new(internet: bool, allowed: &str) -> Self {
        let egress = Egress {
            upstream: Upstream::Direct,
            internet,
            dns: DnsPolicy {
                allow_hostnames: vec![allowed.to_owned()],
            },
        };
        let options = NetworkOptions {
            resolvers: Some(Vec::new()),
            ..NetworkOptions::default()
        };
        Self(Arc::new(Shared::new(
            egress,
            options,
            Counters::default(),
            Ca::default(),
        )))
    }

    /// The answer to a datagram.
    pub async fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        dns::answer(query, Transport::Udp, &self.0).await
    }

    /// All answers to a stream of framed queries that ends after `queries`.
    pub async fn answer_stream(&self, queries: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let written = async {
            let (mut read, mut write) = tokio::io::split(&mut client);
            // The server may give up on a broken stream before all is written.
            let _ = write.write_all(queries).await;
            let _ = write.shutdown().await;
            let mut answers = Vec::new();
            let _ = read.read_to_end(&mut answers).await;
            answers
        };
        let (_, answers) = tokio::join!(dns::serve_stream(server, &self.0), written);
        answers
    }
}
