//! One layer on its way in: from the network into the store, which unpacks it as it comes.

use std::io::{self, Read};

use berth_image::{IncomingLayer, Layer};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Pull, Stopped, blocking};
use crate::blob::Receiver;
use crate::document::Descriptor;
use crate::error::DistributionError;
use crate::progress::{Counter, LayerState};

/// Chunks between the network and the thread that unpacks.
const CHUNKS_AHEAD: usize = 32;

impl Pull<'_> {
    /// Brings one layer into the store; whether it had to be fetched. What is returned keeps it there.
    pub(super) async fn layer(&self, layer: &Layer) -> Result<(Layer, bool), Stopped> {
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
