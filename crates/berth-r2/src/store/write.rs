//! Bytes on their way in: one batch is hashed and written while the network brings the next.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use tokio::task::spawn_blocking;

use super::{Body, R2};
use crate::digest::{Algorithm, Hasher};
use crate::index::fresh;
use crate::{R2Error, Sums};

/// Bytes of one batch, at least, unless the body ends.
const BATCH: usize = 512 * 1024;

/// What came in.
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) sums: Sums,
    /// `None`: it has no bytes.
    pub(super) blob: Option<Pending>,
}

/// A blob that the index does not name yet. Dropping it has it deleted.
pub(super) struct Pending {
    store: R2,
    name: Option<String>,
}

impl Pending {
    pub(super) fn name(&self) -> String {
        self.name.clone().unwrap_or_default()
    }

    /// The index names it now.
    pub(super) fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.store.doom([name]);
        }
    }
}

impl R2 {
    /// Writes a body to a blob, which is durable on return.
    pub(super) async fn write(
        &self,
        body: Body,
        algorithms: Vec<Algorithm>,
        most: u64,
    ) -> Result<Written, R2Error> {
        let mut hasher = Hasher::new(algorithms);
        let mut body = body.fuse();
        let mut batch = next_batch(&mut body).await?;
        if batch.is_empty() {
            return Ok(Written {
                size: 0,
                sums: hasher.finish(),
                blob: None,
            });
        }
        let name = format!("{}{}", self.inner.run, fresh());
        let mut writer = self.inner.blobs.create(&name).await?;
        let mut size = 0;
        while !batch.is_empty() {
            size += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if size > most {
                return Err(R2Error::TooLarge);
            }
            let pieces = batch.clone();
            let hashing = spawn_blocking(move || {
                for piece in pieces {
                    hasher.update(&piece);
                }
                hasher
            });
            let (written, next) = tokio::join!(writer.write(batch), next_batch(&mut body));
            hasher = hashing.await?;
            written?;
            batch = next?;
        }
        writer.finish().await?;
        Ok(Written {
            size,
            sums: hasher.finish(),
            blob: Some(Pending {
                store: self.clone(),
                name: Some(name),
            }),
        })
    }
}

/// What the body has next; nothing if it has ended.
async fn next_batch(body: &mut Fuse<Body>) -> Result<Vec<Bytes>, R2Error> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH {
        let Some(piece) = body.next().await else {
            break;
        };
        let piece = piece?;
        if !piece.is_empty() {
            bytes += piece.len();
            batch.push(piece);
        }
    }
    Ok(batch)
}
