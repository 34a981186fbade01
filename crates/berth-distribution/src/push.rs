//! Push: out of the store to a registry.
//!
//! Blobs first, in parallel: those that the registry has are not sent, those that another repository
//! of the same registry has are mounted from there, the rest is uploaded. The manifest, byte for byte
//! as it is stored, comes last, so that nobody ever pulls half an image.

use std::collections::{BTreeMap, BTreeSet};

use berth_image::{Digest, Image, ImageError, ImageStore, LayerCompression, Reference};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::auth::Scope;
use crate::client::Client;
use crate::document::{self, Descriptor, Document, LayerKind, Manifest, Unusable};
use crate::endpoint::Endpoint;
use crate::error::DistributionError;
use crate::progress::{Counter, LayerState, Progress, ProgressSink};
use crate::pull::blocking;
use crate::transport::{Call, Payload};
use crate::upload::Upload;

/// How an image is pushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushOptions {
    /// How layers that were made on this machine are compressed. `None`: as the configuration says of
    /// the registry, or with gzip. Layers that came from elsewhere stay as they came.
    pub compression: Option<LayerCompression>,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Digest of the manifest, by which the registry has the image.
    pub digest: Digest,
    /// Size of the manifest in bytes.
    pub size: u64,
    /// Blobs that had to be sent.
    pub sent: usize,
}

impl Client {
    /// Pushes an image of the store under a name.
    ///
    /// # Errors
    /// See [`DistributionError`]. The name in the registry leads to what it led to before.
    pub async fn push(
        &self,
        store: &ImageStore,
        image: &Image,
        reference: &Reference,
        options: &PushOptions,
        sink: ProgressSink<'_>,
    ) -> Result<Pushed, DistributionError> {
        let endpoint = self.registry(reference.host()).await?;
        let configured = endpoint.config.compression;
        let push = Push {
            compression: options.compression.or(configured).unwrap_or_default(),
            client: self,
            store,
            endpoint: &endpoint,
            reference,
            sink,
            action: format!("push `{reference}`"),
        };
        Box::pin(push.run(image)).await
    }
}

struct Push<'a> {
    client: &'a Client,
    store: &'a ImageStore,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    sink: ProgressSink<'a>,
    compression: LayerCompression,
    action: String,
}

impl Push<'_> {
    async fn run(&self, image: &Image) -> Result<Pushed, DistributionError> {
        // Layers that were made here are not compressed until now.
        let (store, image, compression) = (self.store.clone(), image.clone(), self.compression);
        let image = &blocking(move || store.packed(&image, compression)).await?;
        let (digest, bytes) = self.read_manifest(image).await?;
        let manifest = self.parse(&bytes)?;
        let mut blobs = Vec::new();
        let mut seen = BTreeSet::new();
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if seen.insert(&blob.digest) {
                blobs.push(blob);
            }
        }
        (self.sink)(Progress::Resolved {
            reference: self.reference.to_string(),
            digest: digest.clone(),
            layers: manifest.layers.len(),
            bytes: blobs.iter().map(|blob| blob.size).sum(),
            host: self.endpoint.host.clone(),
        });
        let elsewhere = self.other_repositories().await?;
        let sent = blobs
            .iter()
            .map(|blob| self.blob(blob, elsewhere.get(&blob.digest)));
        let sent = try_join_all(sent).await?;
        let size = bytes.len() as u64;
        self.put_manifest(&manifest.media_type, &digest, bytes)
            .await?;
        let (store, reference) = (self.store.clone(), self.reference.clone());
        let (image, noted) = (image.clone(), digest.clone());
        blocking(move || store.note_digest(&image, &reference, &noted)).await?;
        Ok(Pushed {
            digest,
            size,
            sent: sent.into_iter().filter(|sent| *sent).count(),
        })
    }

    async fn read_manifest(&self, image: &Image) -> Result<(Digest, Vec<u8>), DistributionError> {
        let (store, image) = (self.store.clone(), image.clone());
        let (digest, bytes) = blocking(move || store.manifest(&image)).await?;
        match self.reference.digest() {
            Some(wanted) if *wanted != digest => Err(self.broken(format!(
                "its manifest has digest {digest}, so it cannot be pushed as {wanted}"
            ))),
            _ => Ok((digest, bytes)),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Manifest, DistributionError> {
        let manifest = match Document::parse(bytes, "") {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) => return Err(self.broken("it is an index".to_owned())),
            Err(Unusable::Broken(problem)) => return Err(self.broken(problem)),
            Err(Unusable::NotAnImage(kind)) => {
                return Err(DistributionError::NotAnImage {
                    reference: self.reference.to_string(),
                    kind,
                });
            }
        };
        for layer in &manifest.layers {
            if document::layer_kind(&layer.media_type) == LayerKind::Foreign {
                return Err(DistributionError::Foreign {
                    reference: self.reference.to_string(),
                    digest: layer.digest.clone(),
                    kind: layer.media_type.clone(),
                });
            }
        }
        Ok(manifest)
    }

    fn broken(&self, problem: String) -> DistributionError {
        DistributionError::BadImage {
            reference: self.reference.to_string(),
            problem,
        }
    }

    /// Which blobs other repositories of the registry should have, as far as this store knows.
    async fn other_repositories(&self) -> Result<BTreeMap<Digest, String>, DistributionError> {
        let store = self.store.clone();
        let reference = self.reference.clone();
        blocking(move || {
            let mut found = BTreeMap::new();
            for summary in store.list()? {
                let Some(image) = store.resolve(&summary.name)? else {
                    continue;
                };
                let names = store.repo_digests(&image)?;
                let repository = names
                    .iter()
                    .filter_map(|name| name.parse::<Reference>().ok())
                    .find(|name| {
                        name.host() == reference.host()
                            && name.repository() != reference.repository()
                    });
                let Some(repository) = repository else {
                    continue;
                };
                for layer in image.layers {
                    let repository = repository.repository().to_owned();
                    found.entry(layer.digest).or_insert(repository);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Makes sure that the registry has a blob; whether it had to be sent.
    async fn blob(
        &self,
        blob: &Descriptor,
        elsewhere: Option<&String>,
    ) -> Result<bool, DistributionError> {
        let Ok(_slot) = self.client.slots().acquire().await else {
            return Err(self.broken("the client was closed".to_owned()));
        };
        let mut counter = Counter::new(self.sink, &blob.digest, blob.size);
        let upload = Upload {
            endpoint: self.endpoint,
            repository: self.reference.repository(),
            blob,
            path: self.store.blob_path(&blob.digest),
            action: &self.action,
        };
        if upload.exists().await? {
            counter.state(LayerState::Exists);
            return Ok(false);
        }
        if let Some(from) = elsewhere
            && upload.mount(from).await
        {
            counter.state(LayerState::Mounted { from: from.clone() });
            return Ok(false);
        }
        self.check_file(&upload)?;
        upload.run(&mut counter).await?;
        counter.state(LayerState::Done);
        Ok(true)
    }

    fn check_file(&self, upload: &Upload<'_>) -> Result<(), DistributionError> {
        let found = std::fs::metadata(&upload.path).map(|metadata| metadata.len());
        match found {
            Ok(size) if size == upload.blob.size => Ok(()),
            Ok(size) => Err(self.broken(format!(
                "its manifest says that blob {} has {} bytes, it has {size}",
                upload.blob.digest, upload.blob.size
            ))),
            Err(_) => Err(ImageError::MissingBlob {
                what: "blob",
                digest: upload.blob.digest.clone(),
            }
            .into()),
        }
    }

    async fn put_manifest(
        &self,
        media_type: &str,
        digest: &Digest,
        bytes: Vec<u8>,
    ) -> Result<(), DistributionError> {
        let which = match self.reference.digest() {
            Some(digest) => digest.as_str(),
            None => self.reference.tag(),
        };
        let repository = self.reference.repository();
        let endpoint = self.endpoint;
        let url = endpoint
            .url(&format!("{repository}/manifests/{which}"))
            .await?;
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| self.broken(format!("`{media_type}` is no media type")))?;
        let call = Call::new(Method::PUT, url)
            .header(CONTENT_TYPE, kind)
            .payload(Payload::Bytes(Bytes::from(bytes)));
        let scope = Scope::push(repository);
        let note = |reason: &str, wait| {
            (self.sink)(Progress::Note {
                message: format!("again in {wait:.1?}: {reason}"),
            });
        };
        // The same manifest twice is the same as once.
        let answer = endpoint.ask(&call, &scope, &self.action, &note).await?;
        if !matches!(
            answer.response.status(),
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT
        ) {
            return Err(endpoint.refused(&self.action, answer).await);
        }
        let said = answer
            .response
            .headers()
            .get(HeaderName::from_static("docker-content-digest"))
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        match said {
            Some(said) if said != *digest => Err(endpoint.protocol(
                &self.action,
                format!("took the manifest for another one ({said} in place of {digest})"),
            )),
            _ => Ok(()),
        }
    }
}
