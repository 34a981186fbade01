//! Answers for a certificate authority that asks whether a name is ours, over HTTP (RFC 8555 §8.3) or over TLS
//! (RFC 8737).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

/// Where it asks.
const PATH: &str = "/.well-known/acme-challenge/";
/// What it speaks over TLS; nothing else comes over such a connection.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// What is answered now: token → key authorization.
#[derive(Debug, Default)]
pub struct Challenges {
    answers: RwLock<HashMap<String, String>>,
    /// Host name → certificate with the proof in it.
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Challenges {
    pub(crate) fn set(&self, token: &str, answer: String) {
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.insert(token.to_owned(), answer);
    }

    pub(crate) fn remove(&self, token: &str) {
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.remove(token);
    }

    pub(crate) fn show(&self, name: &str, certificate: Arc<CertifiedKey>) {
        let certificates = self.certificates.write();
        let mut certificates = certificates.unwrap_or_else(PoisonError::into_inner);
        certificates.insert(name.to_owned(), certificate);
    }

    pub(crate) fn hide(&self, name: &str) {
        let certificates = self.certificates.write();
        let mut certificates = certificates.unwrap_or_else(PoisonError::into_inner);
        certificates.remove(name);
    }

    /// Whether a client is an authority that asks.
    pub(crate) fn is_asked_by(hello: &ClientHello<'_>) -> bool {
        let mut offered = hello.alpn().into_iter().flatten();
        offered.next() == Some(PROTOCOL) && offered.next().is_none()
    }

    /// The certificate with the proof for the name that it asks for.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.read();
        let certificates = certificates.unwrap_or_else(PoisonError::into_inner);
        certificates.get(name?).cloned()
    }

    /// The answer for a path. What is not asked of us is the Worker's to answer.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.get(token).cloned()
    }
}
