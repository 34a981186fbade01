//! Certificates from an authority, over ACME (RFC 8555). That a name is answered here is proved over HTTP, or,
//! where the authority does not get through there, over TLS.
//!
//! Below its directory: `account.json` (the account's key), `<name>/certificate.pem` and `<name>/key.pem`, for
//! their owner only. Invariants: a certificate is written whole before it is used; a name that failed is not
//! asked for again before a pause that doubles, because authorities count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_config::{AcmeConfig, CertificateFiles};
use berth_error::Hint;
use instant_acme::{
    Account, AuthorizationStatus, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::challenges::Challenges;
use crate::sites::Sites;
use crate::tls::{CertificateError, Certificates};
use proof::{Answers, Proof};

mod proof;

/// How often it is looked at what is needed.
const PERIOD: Duration = Duration::from_secs(10);
/// Pause after a failure; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LAST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// One certificate may take this long.
const LIMIT: Duration = Duration::from_secs(180);

/// Why a certificate was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority refuses, or cannot be reached.
    #[error("the certificate authority did not give a certificate for `{name}`")]
    Authority {
        /// The name.
        name: String,
        /// What it said.
        #[source]
        source: instant_acme::Error,
    },
    /// It could not be convinced that the name is ours.
    #[error("the certificate authority was not convinced that `{name}` is answered here: {reason}")]
    Refused {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A file.
    #[error("could not keep what the certificate authority gave")]
    File(#[source] std::io::Error),
    /// What it gave cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Hint for AcmeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { name, .. } => Some(format!(
                "the authority asks at {name}, on port 80, then on port 443: let `listen.http` or `listen.https` \
                 answer there"
            )),
            Self::Certificate(error) => error.hint(),
            Self::Authority { .. } | Self::File(_) => None,
        }
    }
}

/// Obtains and renews certificates for the names that a gateway answers for.
#[derive(Debug)]
pub struct Acme {
    config: AcmeConfig,
    directory: PathBuf,
    sites: Arc<Sites>,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    /// Only TLS has worked: it is tried first.
    tls_first: AtomicBool,
    /// Until when a name is left alone, and for how long after the next failure.
    pauses: BTreeMap<String, (Instant, Duration)>,
}

impl Acme {
    /// One with this directory, which is made.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(
        config: AcmeConfig,
        directory: PathBuf,
        sites: Arc<Sites>,
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
    ) -> Result<Self, AcmeError> {
        private(&directory).map_err(AcmeError::File)?;
        Ok(Self {
            config,
            directory,
            sites,
            certificates,
            challenges,
            tls_first: AtomicBool::new(false),
            pauses: BTreeMap::new(),
        })
    }

    /// Obtains what is needed, again and again.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Obtains what is needed now; what fails is said.
    async fn look(&mut self) {
        let mut names = self.sites.hosts();
        names.extend(self.config.domains.iter().cloned());
        names.retain(|name| is_public(name) && !self.certificates.has_file_for(name));
        for name in names {
            let paused = self.pauses.get(&name);
            if paused.is_some_and(|(until, _)| *until > Instant::now()) {
                continue;
            }
            let files = self.files(&name);
            if let Some(due) = self.due(&files.certificate) {
                // It may be from before this start. While a new one is obtained, this one is used.
                if let Err(error) = self.certificates.obtained(&name, &files) {
                    tracing::warn!(error = berth_error::chain(&error), name, "a certificate");
                } else if !due.is_zero() {
                    let next = Instant::now() + due.min(LAST_PAUSE);
                    self.pauses.insert(name, (next, FIRST_PAUSE));
                    continue;
                }
            }
            let obtained = tokio::time::timeout(LIMIT, self.obtain(&name)).await;
            let (pause, next) = match obtained {
                Ok(Ok(())) => {
                    tracing::info!(name, "a certificate was obtained");
                    let due = self.due(&files.certificate).unwrap_or_default();
                    // One that is due at once is not asked for without end.
                    let due = if due.is_zero() { LAST_PAUSE } else { due };
                    (due.min(LAST_PAUSE), FIRST_PAUSE)
                }
                failed => {
                    let reason = match &failed {
                        Ok(Err(error)) => berth_error::chain(error),
                        _ => format!("no answer within {} s", LIMIT.as_secs()),
                    };
                    tracing::error!(reason, name, "no certificate was obtained");
                    let pause = self
                        .pauses
                        .get(&name)
                        .map_or(FIRST_PAUSE, |(_, next)| *next);
                    (pause, (pause * 2).min(LAST_PAUSE))
                }
            };
            self.pauses.insert(name, (Instant::now() + pause, next));
        }
    }

    /// In what time a certificate is to be renewed; `None`: there is none that can be read.
    fn due(&self, certificate: &Path) -> Option<Duration> {
        let left = time_left(certificate)?;
        let before = self.config.renew_before.unwrap_or(left.whole / 3);
        Some(left.now.saturating_sub(before))
    }

    /// Obtains one certificate and has it used.
    ///
    /// # Errors
    /// [`AcmeError`]; what was used before still is.
    pub async fn obtain(&self, name: &str) -> Result<(), AcmeError> {
        let mut proofs = [Proof::Http, Proof::Tls];
        if self.tls_first.load(Ordering::Relaxed) {
            proofs.reverse();
        }
        let mut reasons = Vec::new();
        for proof in proofs {
            match self.obtain_by(proof, name).await {
                Err(AcmeError::Refused { reason, .. }) => reasons.push(reason),
                Err(error) => return Err(error),
                Ok(()) => {
                    self.tls_first.store(proof == Proof::Tls, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
        Err(AcmeError::Refused {
            name: name.to_owned(),
            reason: reasons.join("; "),
        })
    }

    async fn obtain_by(&self, proof: Proof, name: &str) -> Result<(), AcmeError> {
        let failed = |source| AcmeError::Authority {
            name: name.to_owned(),
            source,
        };
        let account = self.account(name).await?;
        let identifiers = [Identifier::Dns(name.to_owned())];
        let new = NewOrder::new(&identifiers);
        let order = account.new_order(&new);
        let mut order = order.await.map_err(failed)?;
        let port = proof.port();
        let mut answers = Answers::new(&self.challenges);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(proof.challenge());
            let mut challenge = challenge.ok_or_else(|| AcmeError::Refused {
                name: name.to_owned(),
                reason: format!("it does not ask on port {port}"),
            })?;
            let authorization = challenge.key_authorization();
            answers.give(proof, name, &challenge.token, &authorization)?;
            challenge.set_ready().await.map_err(failed)?;
        }
        let status = match order.poll_ready(&RetryPolicy::default()).await {
            Ok(status) => status,
            // What it says of an order is what it found when it asked here.
            Err(instant_acme::Error::Api(problem)) => {
                return Err(AcmeError::Refused {
                    name: name.to_owned(),
                    reason: format!("on port {port}: {problem}"),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        if status != OrderStatus::Ready {
            return Err(AcmeError::Refused {
                name: name.to_owned(),
                reason: format!(
                    "on port {port} of the name it did not find us (the order is {status:?})"
                ),
            });
        }
        let key = order.finalize().await.map_err(failed)?;
        let chain = order
            .poll_certificate(&RetryPolicy::default())
            .await
            .map_err(failed)?;
        let files = self.files(name);
        write(&files.key, &key)
            .and_then(|()| write(&files.certificate, &chain))
            .map_err(AcmeError::File)?;
        self.certificates.obtained(name, &files)?;
        Ok(())
    }

    /// The account, which is made at the first time.
    async fn account(&self, name: &str) -> Result<Account, AcmeError> {
        let failed = |source| AcmeError::Authority {
            name: name.to_owned(),
            source,
        };
        let builder = match &self.config.ca {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        };
        let builder = builder.map_err(failed)?;
        let path = self.directory.join("account.json");
        if let Ok(text) = fs_err::read(&path)
            && let Ok(credentials) = serde_json::from_slice(&text)
        {
            return builder.from_credentials(credentials).await.map_err(failed);
        }
        let contact = self
            .config
            .email
            .iter()
            .map(|email| format!("mailto:{email}"));
        let contact: Vec<String> = contact.collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.config.terms_accepted,
            only_return_existing: false,
        };
        let made = builder.create(&new, self.config.directory.clone(), None);
        let (account, credentials) = made.await.map_err(failed)?;
        let text = serde_json::to_string(&credentials).map_err(std::io::Error::from);
        text.and_then(|text| write(&path, &text))
            .map_err(AcmeError::File)?;
        Ok(account)
    }

    fn files(&self, name: &str) -> CertificateFiles {
        let directory = self.directory.join(name);
        CertificateFiles {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        }
    }
}

/// Names that no authority gives certificates for are not asked about.
fn is_public(name: &str) -> bool {
    let local = name == "localhost" || name.ends_with(".localhost") || name.ends_with(".local");
    name.contains('.') && !local && name.parse::<std::net::IpAddr>().is_err()
}

/// The time of a certificate.
struct TimeLeft {
    /// From its begin to its end.
    whole: Duration,
    /// From now to its end.
    now: Duration,
}

/// `None`: there is no certificate that can be read.
fn time_left(certificate: &Path) -> Option<TimeLeft> {
    let der = CertificateDer::from_pem_file(certificate).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (begin, end) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Some(TimeLeft {
        whole: seconds(end.saturating_sub(begin)),
        now: seconds(end).saturating_sub(now),
    })
}

fn private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Whole, for its owner only.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    private(path.parent().unwrap_or(Path::new("/")))?;
    let next = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(next, path)
}
