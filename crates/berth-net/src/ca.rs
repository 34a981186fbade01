//! The certificate authority of one network, which signs intercepted TLS connections.
//!
//! It is made on first use and lives in memory only: with the network its key is gone. As the
//! contract of workerd's sidecar has it: ECDSA P-256, self-signed, 30 days.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

const VALID: Duration = Duration::days(30);
/// Back-dating, for containers whose clock is behind.
const SKEW: Duration = Duration::hours(1);

/// The lazily made authority.
#[derive(Default)]
pub(crate) struct Ca(OnceLock<Option<Authority>>);

/// Certificate and key.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    #[expect(dead_code, reason = "signs leaves once TLS is terminated here")]
    pub(crate) key: KeyPair,
}

impl Ca {
    /// The authority; `None` when the system has no randomness to make a key from.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.0
            .get_or_init(|| match generate() {
                Ok(authority) => Some(authority),
                Err(error) => {
                    tracing::error!(%error, "could not make a certificate authority");
                    None
                }
            })
            .as_ref()
    }
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
    fn the_authority_is_made_once() {
        let ca = Ca::default();
        let first = ca.authority().unwrap().certificate.pem();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(ca.authority().unwrap().certificate.pem(), first);
        assert_ne!(Ca::default().authority().unwrap().certificate.pem(), first);
    }
}
