//! Uploads into a bucket: parts of one size as they fill, and the rest as an object of its own, so
//! that any process can go on after any request.
//!
//! The state is written after what it tells of. A process that dies loses at most the bytes since the
//! last part; the client is told where to go on.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::multipart::{MultipartStore as _, PartId};
use serde::{Deserialize, Serialize};

use super::objects::failed;
use super::{Bucket, Result};
use crate::crash::crash_point;
use crate::digest::{Digest, Hasher};
use crate::storage::{AppendError, Appended, BlobInfo, StorageError, UploadId, UploadStream};

/// Bytes of a part: S3 wants 5 MiB at least, and some that all have the same size.
const PART: usize = 8 * 1024 * 1024;

/// What is known of an upload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// S3's name of it, from the first part on.
    multipart: Option<String>,
    parts: Vec<String>,
    /// Bytes after the last part, in the tail.
    tail: u64,
    /// The parts are put together: only the name is missing.
    complete: bool,
}

impl State {
    pub(super) fn size(&self) -> u64 {
        self.parts.len() as u64 * PART as u64 + self.tail
    }
}

fn key(id: &UploadId, name: &str) -> String {
    format!("uploads/{}/{name}", id.key())
}

fn tail_key(id: &UploadId, state: &State) -> String {
    key(id, &format!("tail-{}", state.size()))
}

fn gone(id: &UploadId) -> StorageError {
    failed("continue", &id.to_string(), "the upload is gone")
}

impl Bucket {
    pub(super) async fn create(&self, id: &UploadId) -> Result<()> {
        self.write_state(id, &State::default()).await
    }

    pub(super) async fn state(&self, id: &UploadId) -> Result<Option<State>> {
        let key = key(id, "state");
        let Some(value) = self.read(&key).await? else {
            return Ok(None);
        };
        let state = serde_json::from_slice(&value);
        state
            .map(Some)
            .map_err(|error| failed("understand", &key, error))
    }

    async fn write_state(&self, id: &UploadId, state: &State) -> Result<()> {
        // Plain strings and numbers can always be written.
        let value = serde_json::to_vec(state).unwrap_or_default();
        self.write(&key(id, "state"), value.into()).await
    }

    async fn tail(&self, id: &UploadId, state: &State) -> Result<Bytes> {
        if state.tail == 0 {
            return Ok(Bytes::new());
        }
        let tail = self.read(&tail_key(id, state)).await?;
        tail.filter(|tail| tail.len() as u64 == state.tail)
            .ok_or_else(|| gone(id))
    }

    /// One more part. The state is not written yet.
    async fn put_part(&self, id: &UploadId, state: &mut State, content: Bytes) -> Result<()> {
        let data = self.path(&key(id, "data"))?;
        let put = async {
            let multipart = match &state.multipart {
                Some(multipart) => multipart.clone(),
                None => self.store.create_multipart(&data).await?,
            };
            let multipart = &*state.multipart.insert(multipart);
            self.store
                .put_part(&data, multipart, state.parts.len(), content.into())
                .await
        };
        let part = put
            .await
            .map_err(|error| failed("write a part of", &id.to_string(), error))?;
        state.parts.push(part.content_id);
        Ok(())
    }
}

/// An append under way.
struct Appending<'a> {
    bucket: &'a Bucket,
    id: &'a UploadId,
    state: State,
    buffer: BytesMut,
    hasher: Option<Hasher>,
}

pub(super) async fn append(
    bucket: &Bucket,
    id: &UploadId,
    at: u64,
    mut body: UploadStream,
    hasher: Option<Hasher>,
) -> Appended {
    let mut appending = match Appending::begin(bucket, id, at, hasher).await {
        Ok(appending) => appending,
        Err(error) => {
            return Appended {
                size: at,
                hasher: None,
                outcome: Err(AppendError::Storage(error)),
            };
        }
    };
    let before = appending.state.clone();
    let mut outcome = Ok(());
    while outcome.is_ok() {
        outcome = match body.next().await {
            Some(Ok(piece)) => appending.take(&piece).await.map_err(AppendError::Storage),
            Some(Err(error)) => Err(AppendError::Body(error)),
            None => break,
        };
    }
    if !matches!(outcome, Err(AppendError::Storage(_)))
        && let Err(error) = appending.end(&before).await
    {
        outcome = Err(AppendError::Storage(error));
    }
    let lost = matches!(outcome, Err(AppendError::Storage(_)));
    // After a failure only the storage knows how much it has.
    let size = match lost {
        true => bucket
            .state(id)
            .await
            .ok()
            .flatten()
            .map_or(at, |state| state.size()),
        false => appending.state.size(),
    };
    Appended {
        size,
        hasher: appending.hasher.filter(|_| !lost),
        outcome,
    }
}

impl<'a> Appending<'a> {
    async fn begin(
        bucket: &'a Bucket,
        id: &'a UploadId,
        at: u64,
        hasher: Option<Hasher>,
    ) -> Result<Self> {
        let state = bucket.state(id).await?.ok_or_else(|| gone(id))?;
        if state.size() != at {
            return Err(failed(
                "continue",
                &id.to_string(),
                "another process has continued it",
            ));
        }
        let tail = match state.complete {
            true => Bytes::new(),
            false => bucket.tail(id, &state).await?,
        };
        Ok(Self {
            bucket,
            id,
            buffer: BytesMut::from(&tail[..]),
            state,
            hasher,
        })
    }

    async fn take(&mut self, piece: &Bytes) -> Result<()> {
        if self.state.complete {
            return Err(failed("continue", &self.id.to_string(), "it is complete"));
        }
        if let Some(mut hasher) = self.hasher.take() {
            let bytes = piece.clone();
            let hashed = tokio::task::spawn_blocking(move || {
                hasher.update(&bytes);
                hasher
            });
            // If it failed the hash is made anew at the end.
            self.hasher = hashed.await.ok();
        }
        self.buffer.extend_from_slice(piece);
        while self.buffer.len() >= PART {
            let content = self.buffer.split_to(PART).freeze();
            self.bucket
                .put_part(self.id, &mut self.state, content)
                .await?;
            self.state.tail = 0;
            self.bucket.write_state(self.id, &self.state).await?;
            crash_point("registry.bucket.part");
        }
        Ok(())
    }

    /// Keeps what is not a part, and tells of it.
    async fn end(&mut self, before: &State) -> Result<()> {
        if self.state.complete {
            return Ok(());
        }
        self.state.tail = self.buffer.len() as u64;
        if self.state.size() == before.size() {
            return Ok(());
        }
        if self.state.tail > 0 {
            let tail = self.buffer.split().freeze();
            self.bucket
                .write(&tail_key(self.id, &self.state), tail)
                .await?;
        }
        self.bucket.write_state(self.id, &self.state).await?;
        if before.tail > 0 {
            self.bucket.remove(&tail_key(self.id, before)).await?;
        }
        Ok(())
    }
}

/// Puts the parts together as one object, if that was not done before.
async fn complete(bucket: &Bucket, id: &UploadId) -> Result<State> {
    let mut state = bucket.state(id).await?.ok_or_else(|| gone(id))?;
    if state.complete {
        return Ok(state);
    }
    let data = key(id, "data");
    // It may have been put together by a process that died before it could tell.
    let there = bucket
        .head(&data)
        .await?
        .is_some_and(|info| info.size == state.size());
    if !there {
        let tail = bucket.tail(id, &state).await?;
        if state.multipart.is_none() {
            bucket.write(&data, tail).await?;
        } else {
            let mut whole = state.clone();
            if !tail.is_empty() {
                bucket.put_part(id, &mut whole, tail).await?;
            }
            let parts = whole
                .parts
                .into_iter()
                .map(|content_id| PartId { content_id });
            let multipart = whole.multipart.unwrap_or_default();
            let path = bucket.path(&data)?;
            let completed = bucket
                .store
                .complete_multipart(&path, &multipart, parts.collect())
                .await;
            completed.map_err(|error| failed("complete", &id.to_string(), error))?;
        }
    }
    state.complete = true;
    bucket.write_state(id, &state).await?;
    crash_point("registry.bucket.complete");
    Ok(state)
}

pub(super) async fn hash(bucket: &Bucket, id: &UploadId, mut hasher: Hasher) -> Result<Digest> {
    complete(bucket, id).await?;
    let data = key(id, "data");
    let mut stream = bucket.stream(&data, None).await?.ok_or_else(|| gone(id))?;
    let read = |error| failed("read", &data, error);
    while let Some(piece) = stream.try_next().await.map_err(read)? {
        let hashed = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        });
        hasher = hashed.await.map_err(|error| failed("hash", &data, error))?;
    }
    Ok(hasher.finish())
}

pub(super) async fn commit(bucket: &Bucket, id: &UploadId, blob: &str) -> Result<()> {
    let state = bucket.state(id).await?.ok_or_else(|| gone(id))?;
    if state.multipart.is_none() && !state.complete {
        let content = bucket.tail(id, &state).await?;
        bucket.write(blob, content).await?;
    } else {
        complete(bucket, id).await?;
        let (from, to) = (bucket.path(&key(id, "data"))?, bucket.path(blob)?);
        let copied = bucket.store.copy(&from, &to).await;
        copied.map_err(|error| failed("name", blob, error))?;
    }
    crash_point("registry.bucket.committed");
    remove(bucket, id).await?;
    Ok(())
}

/// The state goes last: until then the upload can still be found and removed.
pub(super) async fn remove(bucket: &Bucket, id: &UploadId) -> Result<bool> {
    let Some(state) = bucket.state(id).await? else {
        return Ok(false);
    };
    if let (Some(multipart), false) = (&state.multipart, state.complete) {
        let path = bucket.path(&key(id, "data"))?;
        if let Err(error) = bucket.store.abort_multipart(&path, multipart).await {
            // It is gone already, or the bucket's own rules remove it.
            tracing::debug!(%error, %id, "aborting an upload");
        }
    }
    let below = bucket.below(&key(id, "")).await?;
    for (name, _) in below.iter().filter(|(name, _)| name != "state") {
        bucket.remove(&key(id, name)).await?;
    }
    bucket.remove(&key(id, "state")).await?;
    Ok(true)
}

pub(super) async fn list(bucket: &Bucket) -> Result<Vec<(UploadId, BlobInfo)>> {
    let mut uploads = Vec::new();
    for (name, info) in bucket.below("uploads").await? {
        let id = name.strip_suffix("/state").and_then(UploadId::from_key);
        let Some(id) = id else { continue };
        if let Some(state) = bucket.state(&id).await? {
            let size = state.size();
            uploads.push((id, BlobInfo { size, ..info }));
        }
    }
    Ok(uploads)
}
