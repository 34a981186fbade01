//! Uploads under way in this process: one request at a time for each, and their hashes.
//!
//! The newest request wins: a client whose connection broke comes back while we still wait for bytes
//! on the old one, which is then ended. What is not known here (another process began it) is asked of
//! the storage and hashed again at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::digest::Hasher;
use crate::storage::UploadId;

/// What is known of an upload.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes and their hash; `None` before the storage was asked.
    pub(crate) known: Option<(u64, Option<Hasher>)>,
}

#[derive(Debug, Default)]
struct Session {
    progress: Arc<tokio::sync::Mutex<Progress>>,
    /// Ends the request that has it now.
    holder: Mutex<CancellationToken>,
}

/// All uploads that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<UploadId, Arc<Session>>>);

/// The right to change an upload, until it is dropped.
pub(crate) struct Held {
    pub(crate) progress: OwnedMutexGuard<Progress>,
    /// Cancelled when a newer request wants the upload.
    pub(crate) ended: CancellationToken,
}

impl Sessions {
    /// Begins a new upload that is empty.
    pub(crate) fn begin(&self, id: &UploadId, hasher: Hasher) {
        let progress = Progress {
            known: Some((0, Some(hasher))),
        };
        let session = Session {
            progress: Arc::new(tokio::sync::Mutex::new(progress)),
            holder: Mutex::default(),
        };
        self.lock().insert(id.clone(), Arc::new(session));
    }

    /// Takes an upload over.
    pub(crate) async fn hold(&self, id: &UploadId) -> Held {
        let session = self.lock().entry(id.clone()).or_default().clone();
        let ended = CancellationToken::new();
        let before = {
            let mut holder = session
                .holder
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *holder, ended.clone())
        };
        before.cancel();
        Held {
            progress: session.progress.clone().lock_owned().await,
            ended,
        }
    }

    /// Forgets an upload that is gone.
    pub(crate) fn forget(&self, id: &UploadId) {
        self.lock().remove(id);
    }

    /// Whether a request is using it.
    pub(crate) fn is_held(&self, id: &UploadId) -> bool {
        let session = self.lock().get(id).cloned();
        session.is_some_and(|session| session.progress.try_lock().is_err())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
