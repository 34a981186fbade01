//! Pull: from a registry into the store.
//!
//! Layers come in parallel, each streamed into the store, which decompresses, hashes and unpacks it on
//! the way; a layer that another pull is unpacking is waited for and not fetched. The image appears,
//! with its name, when all of it is there. A pull that ends half-way, whatever ends it, leaves
//! finished layers, which the next one finds, and the beginnings of others, which it goes on from.

use std::io::{self, Read};
use std::sync::Arc;

use berth_image::{Digest, Image, ImageStore, IncomingLayer, Layer, Reference};
use bytes::Bytes;
use futures_util::future::join_all;
use oci_spec::image::ImageConfiguration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::blob::{Download, Memory, Receiver};
use crate::client::Client;
use crate::document::{self, Descriptor, LayerKind};
use crate::endpoint::{Endpoint, reason};
use crate::error::DistributionError;
use crate::manifest::{Resolved, Resolver};
use crate::platform::Platform;
use crate::progress::{Counter, LayerState, Progress, ProgressSink};

/// Chunks between the network and the thread that unpacks.
const CHUNKS_AHEAD: usize = 32;

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

    /// Brings one layer into the store; whether it had to be fetched. What is returned keeps it there.
    async fn layer(&self, layer: &Layer) -> Result<(Layer, bool), Stopped> {
        let mut counter = Counter::new(self.sink, &layer.digest, layer.size);
        let (store, wanted) = (self.store.clone(), layer.clone());
        if let Some(layer) = blocking(move || store.claim_layer(&wanted)).await? {
            counter.state(LayerState::Exists);
            return Ok((layer, false));
        }
        let slot = tokio::select! {
            slot = self.client.slots().acquire() => slot,
            () = self.stop.cancelled() => return Err(Stopped::ByOthers),
        };
        let _slot = slot.map_err(|_| self.broken("the client was closed"))?;
        let (asks, mut asked) = mpsc::unbounded_channel();
        let store = self.store.clone();
        let incoming = IncomingLayer {
            digest: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
        };
        let unpacking = tokio::task::spawn_blocking(move || {
            store.ingest_layer(&incoming, |offset| Incoming::open(&asks, offset))
        });
        // Only if the store wants it: another pull may have brought it while this one waited. It is
        // asked for from where an earlier try got to, and anew if that turns out to be damaged.
        let mut fed = None;
        while let Some(ask) = asked.recv().await {
            fed = Some(self.feed(layer, ask, &mut counter).await);
        }
        let unpacked = unpacking.await;
        let needed = fed.is_some();
        fed.unwrap_or(Ok(()))?;
        let layer = unpacked
            .map_err(|_| self.broken("the unpacking thread panicked"))?
            .map_err(|error| self.not_unpacked(error))?;
        counter.state(if needed {
            LayerState::Done
        } else {
            LayerState::Exists
        });
        Ok((layer, needed))
    }

    /// Fetches a layer, or the rest of it, for the thread that unpacks it.
    async fn feed(
        &self,
        layer: &Layer,
        ask: Ask,
        counter: &mut Counter<'_>,
    ) -> Result<(), Stopped> {
        let descriptor = Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            platform: None,
        };
        let download = self.download(&descriptor);
        let mut feed = Feed { sender: ask.sender };
        let outcome = tokio::select! {
            outcome = download.run(ask.offset, &mut feed, counter) => outcome.map_err(Stopped::from),
            () = self.stop.cancelled() => Err(Stopped::ByOthers),
        };
        match outcome {
            Ok(true) => {
                counter.state(LayerState::Unpacking);
                let _ = feed.sender.send(Chunk::End).await;
                Ok(())
            }
            // The store has found something wrong with it, and says so itself.
            Ok(false) => Ok(()),
            Err(stopped) => {
                let _ = feed.sender.send(Chunk::Failed).await;
                Err(stopped)
            }
        }
    }

    fn not_unpacked(&self, error: berth_image::ImageError) -> DistributionError {
        match error {
            berth_image::ImageError::DigestMismatch {
                what,
                expected,
                actual,
            } => DistributionError::WrongDigest {
                host: self.sources[0].host.clone(),
                what,
                expected,
                actual,
            },
            other => other.into(),
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

/// What goes from the network to the thread that unpacks.
enum Chunk {
    Data(Bytes),
    End,
    Failed,
}

struct Feed {
    sender: mpsc::Sender<Chunk>,
}

impl Receiver for Feed {
    async fn receive(&mut self, bytes: Bytes) -> bool {
        self.sender.send(Chunk::Data(bytes)).await.is_ok()
    }
}

/// The store wants a layer, from this byte on.
struct Ask {
    offset: u64,
    sender: mpsc::Sender<Chunk>,
}

/// A layer as the store reads it.
struct Incoming {
    receiver: mpsc::Receiver<Chunk>,
    chunk: Bytes,
    ended: bool,
}

impl Incoming {
    /// Asks for the layer from a byte on.
    fn open(asks: &mpsc::UnboundedSender<Ask>, offset: u64) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        asks.send(Ask { offset, sender })
            .map_err(|_| io::Error::other("the pull was given up"))?;
        Ok(Self {
            receiver,
            chunk: Bytes::new(),
            ended: false,
        })
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Chunk::Data(bytes)) => self.chunk = bytes,
                Some(Chunk::End) => self.ended = true,
                // A pull that was dropped half-way must not look like a short layer.
                Some(Chunk::Failed) | None => {
                    return Err(io::Error::other("the download was given up"));
                }
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
