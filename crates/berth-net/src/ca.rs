//! The certificate authority of one network, which signs intercepted TLS connections.
//!
//! It is made on first use. A network that is to outlive its process has its owner keep the key
//! ([`crate::NetworkRecord`]); any other's lives in memory only: with the network it is gone. As the
//! contract of workerd's sidecar has it: ECDSA P-256, self-signed, 30 days; leaves for 24 hours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
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
    /// As containers have it.
    pub(crate) pem: String,
    /// With the same name and key; signed anew when it was taken over, so that its bytes may differ.
    certificate: Certificate,
    key: KeyPair,
    made: OffsetDateTime,
}

/// An authority, for the process that takes its network over. Its key is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorityRecord {
    certificate: String,
    key: String,
    /// Unix seconds.
    made: i64,
}

impl std::fmt::Debug for AuthorityRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        formatter.write_str("AuthorityRecord")
    }
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
    /// The authority of a process before.
    ///
    /// # Errors
    /// The record has none.
    pub(crate) fn adopt(record: &AuthorityRecord) -> Result<Self, LeafError> {
        let made = OffsetDateTime::from_unix_timestamp(record.made);
        let made = made.map_err(|_| LeafError::NoAuthority)?;
        let key = KeyPair::from_pem(&record.key)?;
        let authority = Authority {
            pem: record.certificate.clone(),
            certificate: certificate(&key, made)?,
            key,
            made,
        };
        Ok(Self {
            authority: OnceLock::from(Some(authority)),
            leaves: Mutex::default(),
        })
    }

    /// What a successor needs; `None` as long as nobody has needed the authority.
    pub(crate) fn record(&self) -> Option<AuthorityRecord> {
        let authority = self.authority.get()?.as_ref()?;
        Some(AuthorityRecord {
            certificate: authority.pem.clone(),
            key: authority.key.serialize_pem(),
            made: authority.made.unix_timestamp(),
        })
    }

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
    let key = KeyPair::generate()?;
    let made = OffsetDateTime::now_utc();
    let certificate = certificate(&key, made)?;
    Ok(Authority {
        pem: certificate.pem(),
        certificate,
        key,
        made,
    })
}

fn certificate(key: &KeyPair, made: OffsetDateTime) -> Result<Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Berth egress interception CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = made - SKEW;
    params.not_after = made + VALID;
    params.self_signed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_and_each_leaf_are_made_once() {
        let ca = Ca::default();
        assert_eq!(ca.record(), None);
        let first = ca.authority().unwrap().pem.clone();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(ca.authority().unwrap().pem, first);
        let server = ca.server("a.example").unwrap();
        assert!(Arc::ptr_eq(&server, &ca.server("a.example").unwrap()));
        assert!(!Arc::ptr_eq(&server, &ca.server("b.example").unwrap()));
        assert_ne!(Ca::default().authority().unwrap().pem, first);
        let record = ca.record().unwrap();
        assert!(!format!("{record:?}").contains("KEY"));
        let adopted = Ca::adopt(&record).unwrap();
        assert_eq!(adopted.authority().unwrap().pem, first);
        assert_eq!(adopted.record().unwrap(), record);
        let broken = AuthorityRecord {
            key: "no key".to_owned(),
            ..record
        };
        assert!(Ca::adopt(&broken).is_err());
    }
}
