//! What a pull or push tells while it goes on.

use berth_image::Digest;
use serde::Serialize;

/// Receives every event, from several threads.
pub type ProgressSink<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One event of a pull or push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// It is known what will be transferred.
    Resolved {
        /// The image, as Docker shows it.
        reference: String,
        /// Digest of its manifest.
        digest: Digest,
        /// Layers, of which some may be there already.
        layers: usize,
        /// Bytes of all layers, compressed.
        bytes: u64,
        /// The host the image comes from or goes to: the registry's or a mirror's.
        host: String,
    },
    /// Something happened to one blob.
    Layer {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes, compressed.
        size: u64,
        /// What happened.
        #[serde(flatten)]
        state: LayerState,
    },
    /// A line for people, such as that a mirror does not answer.
    Note {
        /// The line.
        message: String,
    },
}

/// Where a blob is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LayerState {
    /// It was there already.
    Exists,
    /// On its way in.
    Downloading {
        /// Bytes received so far.
        bytes: u64,
    },
    /// All bytes are here; the rest of the tree is being written.
    Unpacking,
    /// On its way out.
    Uploading {
        /// Bytes sent so far.
        bytes: u64,
    },
    /// The registry took it over from another repository of its own.
    Mounted {
        /// That repository.
        from: String,
    },
    /// The connection broke, or the registry asked to wait.
    Retrying {
        /// Why.
        reason: String,
        /// Milliseconds until the next attempt.
        wait_ms: u64,
    },
    /// Complete.
    Done,
}

/// Reports the bytes of one blob, not more often than a person can see.
pub(crate) struct Counter<'a> {
    pub(crate) sink: ProgressSink<'a>,
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    told: u64,
}

/// Fewest bytes between two events of one blob.
const STEP: u64 = 256 * 1024;

impl<'a> Counter<'a> {
    pub(crate) fn new(sink: ProgressSink<'a>, digest: &'a Digest, size: u64) -> Self {
        Self {
            sink,
            digest,
            size,
            told: 0,
        }
    }

    pub(crate) fn state(&self, state: LayerState) {
        (self.sink)(Progress::Layer {
            digest: self.digest.clone(),
            size: self.size,
            state,
        });
    }

    pub(crate) fn downloaded(&mut self, bytes: u64) {
        if bytes >= self.told + STEP || bytes == self.size || self.told == 0 {
            self.told = bytes;
            self.state(LayerState::Downloading { bytes });
        }
    }
}
