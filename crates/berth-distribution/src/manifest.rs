//! From a name to the one manifest that is meant: through indexes, for one platform.
//!
//! Invariants: a document has the digest it was asked for by; of one asked for by tag the digest is
//! computed, and must be what the registry says it is. Indexes are followed to a depth, and nothing
//! is asked for twice.

use berth_image::{Digest, Reference};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::auth::Scope;
use crate::document::{self, Descriptor, Document, Manifest, Unusable};
use crate::endpoint::{Endpoint, OnRetry};
use crate::error::DistributionError;
use crate::platform::Platform;
use crate::transport::Call;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Most indexes inside each other.
const MAX_DEPTH: usize = 4;

/// A document as it came.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) content_type: String,
}

/// The manifest that is meant.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) fetched: Fetched,
    pub(crate) manifest: Manifest,
    /// The indexes that led to it, outermost first.
    pub(crate) indexes: Vec<Digest>,
    /// The index said that it is for the platform that was asked for.
    pub(crate) chosen: bool,
}

/// Reads documents of one image from one source.
pub(crate) struct Resolver<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) reference: &'a Reference,
    pub(crate) platform: &'a Platform,
    pub(crate) on_retry: OnRetry<'a>,
}

/// A manifest or index as a registry has it.
#[derive(Clone, Debug)]
pub struct RegistryManifest {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// What the registry says it is.
    pub media_type: String,
}

impl crate::Client {
    /// The manifest or index that a name leads to, as it is: of no platform in particular.
    ///
    /// # Errors
    /// See [`DistributionError`].
    pub async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<RegistryManifest, DistributionError> {
        let endpoint = self.registry(reference.host()).await?;
        let resolver = Resolver {
            endpoint: &endpoint,
            reference,
            platform: &Platform::host(),
            on_retry: &|_, _| {},
        };
        let fetched = match reference.digest() {
            Some(digest) => resolver.fetch(digest.as_str(), Some(digest)).await?,
            None => resolver.fetch(reference.tag(), None).await?,
        };
        Document::parse(&fetched.bytes, &fetched.content_type)
            .map_err(|error| resolver.unusable(error))?;
        let media_type = document::essence(&fetched.content_type).to_owned();
        Ok(RegistryManifest {
            bytes: fetched.bytes,
            digest: fetched.digest,
            media_type,
        })
    }
}

impl Resolver<'_> {
    pub(crate) async fn resolve(&self) -> Result<Resolved, DistributionError> {
        let mut fetched = match self.reference.digest() {
            Some(digest) => self.fetch(digest.as_str(), Some(digest)).await?,
            None => self.fetch(self.reference.tag(), None).await?,
        };
        let mut indexes = Vec::new();
        let mut chosen = false;
        loop {
            let document = Document::parse(&fetched.bytes, &fetched.content_type)
                .map_err(|error| self.unusable(error))?;
            let members = match document {
                Document::Manifest(manifest) => {
                    return Ok(Resolved {
                        fetched,
                        manifest,
                        indexes,
                        chosen,
                    });
                }
                Document::Index(members) => members,
            };
            if indexes.len() >= MAX_DEPTH {
                return Err(self.broken(format!("more than {MAX_DEPTH} indexes are nested in it")));
            }
            let member = self.choose(&members)?;
            chosen |= member.platform.is_some();
            indexes.push(fetched.digest.clone());
            if indexes.contains(&member.digest) {
                return Err(self.broken("an index leads back to itself".to_owned()));
            }
            fetched = self
                .fetch(member.digest.as_str(), Some(&member.digest))
                .await?;
            self.check_size(member, &fetched)?;
            if !member.media_type.is_empty() {
                fetched.content_type.clone_from(&member.media_type);
            }
        }
    }

    /// The member for the platform: what says that it is, the plainest variant first; then what does
    /// not say.
    fn choose<'d>(&self, members: &'d [Descriptor]) -> Result<&'d Descriptor, DistributionError> {
        let known = members.iter().filter_map(|member| {
            let platform = member.platform.as_ref()?;
            // Attestations are for `unknown/unknown`.
            (platform.os != "unknown").then_some((member, platform))
        });
        let fitting = known
            .clone()
            .filter(|(_, platform)| self.platform.accepts(platform))
            .min_by_key(|(_, platform)| Platform::rank(platform));
        if let Some((member, _)) = fitting {
            return Ok(member);
        }
        if let Some(member) = members.iter().find(|member| member.platform.is_none()) {
            return Ok(member);
        }
        let mut found: Vec<String> = known.map(|(_, platform)| platform.to_string()).collect();
        found.dedup();
        if found.is_empty() {
            return Err(self.broken("its index is empty".to_owned()));
        }
        Err(self.wrong_platform(found))
    }

    /// A manifest or index by tag or digest.
    pub(crate) async fn fetch(
        &self,
        which: &str,
        expected: Option<&Digest>,
    ) -> Result<Fetched, DistributionError> {
        let endpoint = self.endpoint;
        let repository = self.reference.repository();
        let action = format!("pull `{}`", self.reference);
        let url = endpoint
            .url(&format!("{repository}/manifests/{which}"))
            .await?;
        let call =
            Call::new(Method::GET, url).header(ACCEPT, HeaderValue::from_static(document::ACCEPT));
        let scope = Scope::pull(repository);
        let mut answer = endpoint.ask(&call, &scope, &action, self.on_retry).await?;
        match answer.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(DistributionError::NotFound {
                    reference: self.reference.to_string(),
                });
            }
            _ => return Err(endpoint.refused(&action, answer).await),
        }
        let header = |name: HeaderName| {
            let value = answer.response.headers().get(name)?;
            Some(value.to_str().unwrap_or_default().to_owned())
        };
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let said = header(DOCKER_CONTENT_DIGEST);
        let body = endpoint
            .transport()
            .body(&mut answer.response, document::MAX_MANIFEST)
            .await
            .map_err(|error| error.into_error(&endpoint.host, &action, 1))?;
        let Some(bytes) = body else {
            let limit = document::MAX_MANIFEST >> 20;
            let problem = format!("sends a manifest of more than {limit} MiB");
            return Err(endpoint.protocol(&action, problem));
        };
        let digest = Digest::of(&bytes);
        let said = said.and_then(|said| said.parse::<Digest>().ok());
        for expected in expected.into_iter().chain(said.as_ref()) {
            if *expected != digest {
                return Err(DistributionError::WrongDigest {
                    host: endpoint.host.clone(),
                    what: format!("the manifest of `{}`", self.reference),
                    expected: expected.clone(),
                    actual: digest,
                });
            }
        }
        Ok(Fetched {
            bytes,
            digest,
            content_type,
        })
    }

    fn check_size(
        &self,
        descriptor: &Descriptor,
        fetched: &Fetched,
    ) -> Result<(), DistributionError> {
        let size = fetched.bytes.len() as u64;
        if descriptor.size == size {
            return Ok(());
        }
        Err(self.broken(format!(
            "its index says that manifest {} has {} bytes, it has {size}",
            descriptor.digest, descriptor.size
        )))
    }

    pub(crate) fn unusable(&self, error: Unusable) -> DistributionError {
        match error {
            Unusable::Broken(problem) => self.broken(problem),
            Unusable::NotAnImage(kind) => DistributionError::NotAnImage {
                reference: self.reference.to_string(),
                kind,
            },
        }
    }

    pub(crate) fn broken(&self, problem: String) -> DistributionError {
        DistributionError::BadImage {
            reference: self.reference.to_string(),
            problem,
        }
    }

    pub(crate) fn wrong_platform(&self, found: Vec<String>) -> DistributionError {
        DistributionError::Platform {
            reference: self.reference.to_string(),
            wanted: self.platform.to_string(),
            found,
        }
    }
}
