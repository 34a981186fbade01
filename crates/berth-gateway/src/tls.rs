//! Certificates: which one a client gets, and how they are exchanged while the gateway runs.
//!
//! Invariant: a set of files is taken whole or not at all, so that a half-written renewal changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use berth_config::CertificateFiles;
use berth_error::Hint;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::challenges::{self, Challenges};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read, or holds something else.
    #[error("could not read {what} from `{path}`")]
    Pem {
        /// `a certificate`, `a private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate in the file.
    #[error("`{0}` holds no certificate")]
    Empty(PathBuf),
    /// The two do not belong together, or the key is of a kind that is not known.
    #[error("the certificate `{certificate}` cannot be used with the key `{key}`")]
    Pair {
        /// The file of the chain.
        certificate: PathBuf,
        /// That of the key.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

impl Hint for CertificateError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Pem { .. } | Self::Empty(_) => {
                "both are PEM files: the chain with the server's own certificate first, and its private key"
                    .to_owned()
            }
            Self::Pair { .. } => "name the key with which the certificate was made".to_owned(),
        })
    }
}

/// The certificates of a gateway.
#[derive(Debug, Default)]
pub struct Certificates {
    held: RwLock<Held>,
}

/// A certificate that clients may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCertificate {
    /// Host names that it is for.
    pub name: String,
    /// When it ends, Unix seconds.
    pub expires: i64,
    /// It comes from an authority, not from files of the operator.
    pub obtained: bool,
}

#[derive(Debug, Default)]
struct Held {
    /// In the order of the configuration.
    files: Vec<Arc<CertifiedKey>>,
    /// By the name that they were obtained for.
    obtained: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Takes these files in the place of those before.
    ///
    /// # Errors
    /// One of them cannot be used; what was there stays.
    pub fn load(&self, files: &[CertificateFiles]) -> Result<(), CertificateError> {
        let read = files
            .iter()
            .map(|files| read(&files.certificate, &files.key));
        let read = read.collect::<Result<Vec<_>, _>>()?;
        self.write().files = read;
        Ok(())
    }

    /// Takes the certificate that was obtained for a name.
    ///
    /// # Errors
    /// It cannot be used; what was there stays.
    pub fn obtained(&self, name: &str, files: &CertificateFiles) -> Result<(), CertificateError> {
        let read = read(&files.certificate, &files.key)?;
        self.write().obtained.insert(name.to_owned(), read);
        Ok(())
    }

    /// Whether one of the files is for this name, so that none has to be obtained.
    pub fn has_file_for(&self, name: &str) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.files.iter().any(|key| is_for(key, name))
    }

    /// Every certificate, files first.
    pub fn list(&self) -> Vec<ListedCertificate> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let files = held.files.iter().map(|key| (None, key));
        let obtained = held.obtained.iter();
        let obtained = obtained.map(|(name, key)| (Some(name.as_str()), key));
        let all = files.chain(obtained);
        all.filter_map(|(name, key)| listed(name, key)).collect()
    }

    /// The one for a name, or that for clients that name none which is there.
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = held.files.iter().chain(held.obtained.values());
        let named = name.and_then(|name| {
            let named = all.clone().find(|key| is_for(key, name));
            named.or_else(|| held.obtained.get(name))
        });
        named.or_else(|| all.next()).cloned()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

/// What is worth knowing of a certificate; `name`: what it was obtained for.
fn listed(name: Option<&str>, key: &CertifiedKey) -> Option<ListedCertificate> {
    let (_, certificate) = X509Certificate::from_der(key.cert.first()?).ok()?;
    let names = || {
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter());
        let names = names.into_iter().flatten().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        names.collect::<Vec<_>>().join(", ")
    };
    Some(ListedCertificate {
        obtained: name.is_some(),
        name: name.map_or_else(names, str::to_owned),
        expires: certificate.validity().not_after.timestamp(),
    })
}

fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let (Some(own), Ok(name)) = (key.cert.first(), ServerName::try_from(name)) else {
        return false;
    };
    EndEntityCert::try_from(own)
        .is_ok_and(|own| own.verify_is_valid_for_subject_name(&name).is_ok())
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertificateError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .map_err(failed("a certificate", certificate))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed("a certificate", certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(certificate.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(failed("a private key", key))?;
    let provider = rustls::crypto::ring::default_provider();
    let pair = CertifiedKey::from_der(chain, private, &provider);
    pair.map(Arc::new).map_err(|source| CertificateError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// The certificate of a name, and during an order the proof that it is ours.
#[derive(Debug)]
struct Resolver {
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match Challenges::is_asked_by(&hello) {
            true => self.challenges.certificate(hello.server_name()),
            false => self.certificates.resolve(hello),
        }
    }
}

/// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
pub(crate) fn server_config(
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver {
            certificates,
            challenges,
        }));
    let protocols: [&[u8]; 3] = [b"h2", b"http/1.1", challenges::PROTOCOL];
    config.alpn_protocols = protocols.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}
