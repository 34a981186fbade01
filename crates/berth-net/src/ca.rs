//! The certificate authority of one network, which signs intercepted TLS connections.
//!
//! It is made on first use and lives in memory only: with the network its key is gone. As the
//! contract of workerd's sidecar has it: ECDSA P-256, self-signed, 30 days; leaves for 24 hours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, ServerConfig};

const VALID: Duration = Duration::days(30);
/// Back-dating, for containers whose clock is behind.
const SKEW: Duration = Duration::hours(1);

/// Leaves are valid for this long, and made anew when half of it is over.
const LEAF_VALID: Duration = Duration::hours(24);
/// Leaves kept; when there are more names, all are forgotten and made anew as they are needed.
const LEAVES: usize = 512;

/// The lazily made authority and its leaves.
#[derive(Default)]
pub(crate) struct Ca {
    authority: OnceLock<Option<Authority>>,
    leaves: Mutex<HashMap<String, (OffsetDateTime, Arc<ServerConfig>)>>,
}

/// Certificate and key.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    key: KeyPair,
}

/// Why no leaf could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeafError {
    #[error("there is no certificate authority")]
    NoAuthority,
    #[error("could not sign a certificate")]
    Sign(#[from] rcgen::Error),
    #[error("could not set TLS up")]
    Tls(#[from] rustls::Error),
}

impl Ca {
    /// The authority; `None` when the system has no randomness to make a key from.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.authority
            .get_or_init(|| match generate() {
                Ok(authority) => Some(authority),
                Err(error) => {
                    tracing::error!(%error, "could not make a certificate authority");
                    None
                }
            })
            .as_ref()
    }

    /// What a TLS server called `name` needs: a leaf signed by the authority.
    pub(crate) fn server(&self, name: &str) -> Result<Arc<ServerConfig>, LeafError> {
        let now = OffsetDateTime::now_utc();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, server)) = leaves.get(name)
            && now - *made < LEAF_VALID / 2
        {
            return Ok(Arc::clone(server));
        }
        let authority = self.authority().ok_or(LeafError::NoAuthority)?;
        let server = Arc::new(leaf(authority, name, now)?);
        if leaves.len() >= LEAVES {
            leaves.clear();
        }
        leaves.insert(name.to_owned(), (now, Arc::clone(&server)));
        Ok(server)
    }
}

fn leaf(authority: &Authority, name: &str, now: OffsetDateTime) -> Result<ServerConfig, LeafError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - SKEW;
    params.not_after = now + LEAF_VALID;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority.certificate, &authority.key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    // The one that workerd speaks in a tunnel.
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        formatter.write_str("Ca")
    }
}

fn generate() -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Berth egress interception CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + VALID;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Authority { certificate, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_and_each_leaf_are_made_once() {
        let ca = Ca::default();
        let first = ca.authority().unwrap().certificate.pem();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(ca.authority().unwrap().certificate.pem(), first);
        let server = ca.server("a.example").unwrap();
        assert!(Arc::ptr_eq(&server, &ca.server("a.example").unwrap()));
        assert!(!Arc::ptr_eq(&server, &ca.server("b.example").unwrap()));
        assert_ne!(Ca::default().authority().unwrap().certificate.pem(), first);
    }
}
