//! A bucket that speaks S3: one object of JSON lines for each batch, named by its first entry, so that a batch
//! that is sent again replaces itself.

use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::{ExportError, Target, lines};
use crate::Entry;

/// Which bucket. Keys come from the environment (`AWS_ACCESS_KEY_ID` and the like), as for every other
/// client of S3.
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// Its name.
    pub name: String,
    /// What all names of objects begin with; may be empty.
    pub prefix: String,
    /// Where it is, if that is not Amazon.
    pub endpoint: Option<String>,
    /// Entries of this time become one object.
    pub every: Duration,
}

pub(super) struct Bucket {
    store: AmazonS3,
    options: BucketOptions,
}

impl Bucket {
    pub(super) fn open(options: BucketOptions) -> Result<Self, ExportError> {
        // Whoever was first has chosen; this is what all of Berth chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&options.name);
        if let Some(endpoint) = &options.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        let store = builder.build().map_err(|error| ExportError {
            target: format!("the bucket `{}`", options.name),
            problem: berth_error::chain(&error),
        })?;
        Ok(Self { store, options })
    }

    /// `<prefix>/2026-11-30/<id of the first entry>.jsonl`; ids have 20 digits, so that names sort.
    fn name(&self, first: &Entry) -> Path {
        let day: String = first.time().chars().take(10).collect();
        let prefix = self.options.prefix.trim_matches('/');
        Path::from(format!("{prefix}/{day}/{:020}.jsonl", first.id))
    }
}

#[async_trait]
impl Target for Bucket {
    fn gather(&self) -> Duration {
        self.options.every
    }

    async fn send(&self, entries: &[Entry]) -> Result<(), String> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let text = PutPayload::from_bytes(lines(entries)?);
        let put = self.store.put(&self.name(first), text).await;
        put.map(drop).map_err(|error| berth_error::chain(&error))
    }
}
