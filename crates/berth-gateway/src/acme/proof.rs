//! How it is proved to an authority that a name is answered here.

use std::sync::Arc;

use instant_acme::{ChallengeType, KeyAuthorization};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

use super::AcmeError;
use crate::challenges::Challenges;

/// Where the authority asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// HTTP-01: at port 80, for a file (RFC 8555 §8.3).
    Http,
    /// TLS-ALPN-01: at port 443, for a certificate (RFC 8737).
    Tls,
}

impl Proof {
    pub(super) fn challenge(self) -> ChallengeType {
        match self {
            Self::Http => ChallengeType::Http01,
            Self::Tls => ChallengeType::TlsAlpn01,
        }
    }

    /// The port at which the authority asks.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Tls => 443,
        }
    }
}

/// What is answered during an order; nothing any more when it is dropped.
pub(super) struct Answers<'a> {
    challenges: &'a Challenges,
    tokens: Vec<String>,
    names: Vec<String>,
}

impl<'a> Answers<'a> {
    pub(super) fn new(challenges: &'a Challenges) -> Self {
        Self {
            challenges,
            tokens: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Answers for a name from now on.
    ///
    /// # Errors
    /// The certificate of the answer cannot be made.
    pub(super) fn give(
        &mut self,
        proof: Proof,
        name: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<(), AcmeError> {
        match proof {
            Proof::Http => {
                let answer = authorization.as_str().to_owned();
                self.challenges.set(token, answer);
                self.tokens.push(token.to_owned());
            }
            Proof::Tls => {
                let digest = authorization.digest();
                let key =
                    certificate(name, digest.as_ref()).map_err(|error| AcmeError::Refused {
                        name: name.to_owned(),
                        reason: format!("no certificate can be made to prove it with: {error}"),
                    })?;
                self.challenges.show(name, key);
                self.names.push(name.to_owned());
            }
        }
        Ok(())
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.challenges.remove(token);
        }
        for name in &self.names {
            self.challenges.hide(name);
        }
    }
}

/// A certificate of this name alone, signed by itself, with the digest in its extension (RFC 8737 §3).
fn certificate(
    name: &str,
    digest: &[u8],
) -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error + Send + Sync>> {
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()])?;
    let proof = rcgen::CustomExtension::new_acme_identifier(digest);
    parameters.custom_extensions.push(proof);
    let key = rcgen::KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let signing = provider.key_provider.load_private_key(private.into())?;
    // Not compared with its key: the extension is critical, and nobody knows it but the authority.
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}
