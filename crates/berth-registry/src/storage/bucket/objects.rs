//! Objects of a bucket by our keys.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use super::{Bucket, Result};
use crate::storage::{BlobInfo, Entry, StorageError};

/// The bytes of an object as they come.
pub(super) type Stream = futures_util::stream::BoxStream<'static, object_store::Result<Bytes>>;

pub(super) fn failed(
    action: &'static str,
    key: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StorageError {
    StorageError {
        action,
        key: key.to_owned(),
        source: io::Error::other(source),
    }
}

/// Not being there is an answer.
fn optional<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn info(meta: &ObjectMeta) -> BlobInfo {
    BlobInfo {
        size: meta.size,
        modified: SystemTime::from(meta.last_modified),
    }
}

impl Bucket {
    pub(super) fn path(&self, key: &str) -> Result<Path> {
        let whole = match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        Path::parse(&whole).map_err(|error| failed("name", key, error))
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<BlobInfo>> {
        let found = optional(self.store.head(&self.path(key)?).await);
        let found = found.map_err(|error| failed("look at", key, error))?;
        Ok(found.map(|meta| info(&meta)))
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        let read = async {
            match optional(self.store.get(&path).await)? {
                Some(found) => Ok(Some(found.bytes().await?)),
                None => Ok(None),
            }
        };
        read.await
            .map_err(|error: object_store::Error| failed("read", key, error))
    }

    pub(super) async fn stream(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Option<Stream>> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let found = optional(self.store.get_opts(&self.path(key)?, options).await);
        let found = found.map_err(|error| failed("read", key, error))?;
        Ok(found.map(object_store::GetResult::into_stream))
    }

    pub(super) async fn write(&self, key: &str, value: Bytes) -> Result<()> {
        let written = self.store.put(&self.path(key)?, value.into()).await;
        written
            .map(drop)
            .map_err(|error| failed("write", key, error))
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        optional(self.store.delete(&self.path(key)?).await)
            .map(drop)
            .map_err(|error| failed("remove", key, error))
    }

    /// The objects, and what is above objects, directly below a key, by name.
    pub(super) async fn children(&self, key: &str) -> Result<Vec<Entry>> {
        let listed = self.store.list_with_delimiter(Some(&self.path(key)?)).await;
        let listed = listed.map_err(|error| failed("list", key, error))?;
        let objects = listed
            .objects
            .iter()
            .map(|meta| (&meta.location, info(meta).modified));
        let above = listed
            .common_prefixes
            .iter()
            .map(|path| (path, SystemTime::UNIX_EPOCH));
        let mut entries: Vec<_> = objects
            .chain(above)
            .filter_map(|(path, modified)| {
                let name = path.filename()?.to_owned();
                Some(Entry { name, modified })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// All objects below a key, by what follows it.
    pub(super) async fn below(&self, key: &str) -> Result<Vec<(String, BlobInfo)>> {
        let path = self.path(key)?;
        let listed = self.store.list(Some(&path)).map_ok(|meta| {
            let whole = meta.location.to_string();
            let rest = whole.strip_prefix(path.as_ref()).unwrap_or(&whole);
            (rest.trim_start_matches('/').to_owned(), info(&meta))
        });
        let listed = listed.boxed().try_collect().await;
        listed.map_err(|error| failed("list", key, error))
    }
}
