//! Pull: from a registry into the store.
//!
//! Layers come in parallel, each streamed into the store, which decompresses, hashes and unpacks it on
//! the way; a layer that another pull is unpacking is waited for and not fetched. The image appears,
//! with its name, when all of it is there. A pull that ends half-way, whatever ends it, leaves
//! finished layers, which the next one finds, and the beginnings of others, which it goes on from.

use std::sync::Arc;

use berth_image::{Digest, Image, ImageStore, Layer, Reference};
use futures_util::future::join_all;
use oci_spec::image::ImageConfiguration;
use tokio_util::sync::CancellationToken;

use crate::blob::{Download, Memory};
use crate::client::Client;
use crate::document::{self, Descriptor, LayerKind};
use crate::endpoint::{Endpoint, reason};
use crate::error::DistributionError;
use crate::manifest::{Resolved, Resolver};
use crate::platform::Platform;
use crate::progress::{Counter, Progress, ProgressSink};

mod layer;

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Whose image of an index is taken.
    pub platform: Platform,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
        }
    }
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image, which is in the store under its name now.
    pub image: Image,
    /// Digest of what the name leads to: an index or a manifest.
    pub digest: Digest,
    /// Layers that had to be fetched.
    pub fetched: usize,
}

impl Client {
    /// Pulls an image. Of a reference with a tag, the store's name leads to it afterwards.
    ///
    /// # Errors
    /// See [`DistributionError`]. Nothing of the image is visible then.
    pub async fn pull(
        &self,
        store: &ImageStore,
        reference: &Reference,
        options: &PullOptions,
        sink: ProgressSink<'_>,
    ) -> Result<Pulled, DistributionError> {
        let sources = self.sources(reference.host()).await?;
        let (index, resolved) = self.resolve(&sources, reference, options, sink).await?;
        let pull = Pull {
            client: self,
            store,
            sources: &sources[index..],
            reference,
            platform: &options.platform,
            sink,
            action: format!("pull `{reference}`"),
            stop: CancellationToken::new(),
        };
        Box::pin(pull.run(resolved)).await
    }

    /// The manifest, and which source it is from.
    async fn resolve(
        &self,
        sources: &[Arc<Endpoint>],
        reference: &Reference,
        options: &PullOptions,
        sink: ProgressSink<'_>,
    ) -> Result<(usize, Resolved), DistributionError> {
        let mut last = None;
        for (index, endpoint) in sources.iter().enumerate() {
            let resolver = Resolver {
                endpoint,
                reference,
                platform: &options.platform,
                on_retry: &|reason, wait| {
                    sink(Progress::Note {
                        message: format!("again in {wait:.1?}: {reason}"),
                    });
                },
            };
            match resolver.resolve().await {
                Ok(resolved) => return Ok((index, resolved)),
                Err(error) => {
                    if index + 1 < sources.len() {
                        let message = format!("mirror {}: {}", endpoint.host, reason(&error));
                        sink(Progress::Note { message });
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| DistributionError::NotFound {
            reference: reference.to_string(),
        }))
    }
}

struct Pull<'a> {
    client: &'a Client,
    store: &'a ImageStore,
    /// The source of the manifest, then those after it.
    sources: &'a [Arc<Endpoint>],
    reference: &'a Reference,
    platform: &'a Platform,
    sink: ProgressSink<'a>,
    action: String,
    /// A layer has failed.
    stop: CancellationToken,
}

/// Why a layer did not arrive.
enum Stopped {
    Failed(DistributionError),
    /// Another one failed first.
    ByOthers,
}

impl From<DistributionError> for Stopped {
    fn from(error: DistributionError) -> Self {
        Self::Failed(error)
    }
}

impl Pull<'_> {
    async fn run(&self, resolved: Resolved) -> Result<Pulled, DistributionError> {
        let config = self.config(&resolved).await?;
        let layers = self.layers(&resolved, &config)?;
        let top = resolved.indexes.first().unwrap_or(&resolved.fetched.digest);
        (self.sink)(Progress::Resolved {
            reference: self.reference.to_string(),
            digest: top.clone(),
            layers: layers.len(),
            bytes: layers.iter().map(|layer| layer.size).sum(),
            host: self.sources[0].host.clone(),
        });
        let (held, fetched) = self.all_layers(&layers).await?;
        let digest = top.clone();
        let store = self.store.clone();
        let reference = self.reference.clone();
        let image = blocking(move || {
            let manifest = &resolved.fetched.bytes;
            let image = store.receive_image(manifest, &config, &resolved.indexes, &reference)?;
            // Until now nothing else kept them from being collected.
            drop(held);
            Ok(image)
        })
        .await?;
        Ok(Pulled {
            image,
            digest,
            fetched,
        })
    }

    /// Brings all layers into the store, and keeps them there; how many had to be fetched. If one
    /// fails the others are stopped, and waited for.
    async fn all_layers(&self, layers: &[Layer]) -> Result<(Vec<Layer>, usize), DistributionError> {
        let work = layers.iter().map(|layer| async {
            let outcome = self.layer(layer).await;
            if outcome.is_err() {
                self.stop.cancel();
            }
            outcome
        });
        let mut held = Vec::new();
        let mut fetched = 0;
        let mut first = None;
        for outcome in join_all(work).await {
            match outcome {
                Ok((layer, needed)) => {
                    held.push(layer);
                    fetched += usize::from(needed);
                }
                Err(Stopped::Failed(error)) => first = first.or(Some(error)),
                Err(Stopped::ByOthers) => {}
            }
        }
        first.map_or(Ok((held, fetched)), Err)
    }

    fn broken(&self, problem: impl Into<String>) -> DistributionError {
        DistributionError::BadImage {
            reference: self.reference.to_string(),
            problem: problem.into(),
        }
    }

    /// The bytes of the configuration, which has the size and digest that the manifest says.
    async fn config(&self, resolved: &Resolved) -> Result<Vec<u8>, DistributionError> {
        let descriptor = &resolved.manifest.config;
        if descriptor.size > document::MAX_CONFIG {
            let limit = document::MAX_CONFIG >> 20;
            return Err(self.broken(format!("its configuration is larger than {limit} MiB")));
        }
        let mut memory = Memory { bytes: Vec::new() };
        let quiet = |_| {};
        let mut counter = Counter::new(&quiet, &descriptor.digest, descriptor.size);
        self.download(descriptor)
            .run(0, &mut memory, &mut counter)
            .await?;
        let actual = Digest::of(&memory.bytes);
        if actual != descriptor.digest {
            return Err(DistributionError::WrongDigest {
                host: self.sources[0].host.clone(),
                what: format!("the configuration of `{}`", self.reference),
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        Ok(memory.bytes)
    }

    /// Pairs the manifest's layers with the configuration's, and checks what they are.
    fn layers(&self, resolved: &Resolved, config: &[u8]) -> Result<Vec<Layer>, DistributionError> {
        let config: ImageConfiguration = serde_json::from_slice(config)
            .map_err(|error| self.broken(format!("its configuration cannot be read: {error}")))?;
        let offered = Platform {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone(),
        };
        // What an index says of a variant is not always in the configuration.
        let same_machine =
            offered.os == self.platform.os && offered.architecture == self.platform.architecture;
        if !(self.platform.accepts(&offered) || resolved.chosen && same_machine) {
            return Err(DistributionError::Platform {
                reference: self.reference.to_string(),
                wanted: self.platform.to_string(),
                found: vec![offered.to_string()],
            });
        }
        let diff_ids = config.rootfs().diff_ids();
        let descriptors = &resolved.manifest.layers;
        if diff_ids.len() != descriptors.len() {
            return Err(self.broken(format!(
                "its manifest has {} layers and its configuration {}",
                descriptors.len(),
                diff_ids.len()
            )));
        }
        let pairs = descriptors.iter().zip(diff_ids);
        pairs
            .map(|(descriptor, diff_id)| self.pair(descriptor, diff_id))
            .collect()
    }

    fn pair(&self, descriptor: &Descriptor, diff_id: &str) -> Result<Layer, DistributionError> {
        match document::layer_kind(&descriptor.media_type) {
            LayerKind::Tar => Ok(Layer::new(
                diff_id
                    .parse()
                    .map_err(|_| self.broken(format!("`{diff_id}` is not a sha256 digest")))?,
                descriptor.digest.clone(),
                descriptor.size,
                descriptor.media_type.clone(),
            )),
            LayerKind::Foreign => Err(DistributionError::Foreign {
                reference: self.reference.to_string(),
                digest: descriptor.digest.clone(),
                kind: descriptor.media_type.clone(),
            }),
            LayerKind::Unknown => Err(DistributionError::NotAnImage {
                reference: self.reference.to_string(),
                kind: descriptor.media_type.clone(),
            }),
        }
    }

    fn download<'d>(&'d self, descriptor: &'d Descriptor) -> Download<'d> {
        Download {
            sources: self.sources,
            repository: self.reference.repository(),
            descriptor,
            action: &self.action,
        }
    }
}

/// Runs what blocks on files.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, berth_image::ImageError> + Send + 'static,
) -> Result<T, DistributionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DistributionError::BadImage {
            reference: "the image".to_owned(),
            problem: "storing it panicked".to_owned(),
        }),
    }
}
