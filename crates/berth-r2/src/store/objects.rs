//! Objects: reading, writing, listing.

use super::read::{Held, wanted};
use super::{Body, R2, now};
use crate::blobs::BlobStream;
use crate::condition::{Conditions, Unmet};
use crate::crash::crash_point;
use crate::digest::{Algorithm, hex};
use crate::index::{NewObject, Segment};
use crate::list::{ListOptions, Listing};
use crate::name::is_key;
use crate::object::{Metadata, Object};
use crate::range::{Range, Resolved};
use crate::{R2Error, Sums};

/// Bytes of an object that comes at once, and of a part: 5 GiB less 5 MiB, as R2 has it.
pub(super) const MOST_AT_ONCE: u64 = (5 << 30) - (5 << 20);
/// Bytes of custom metadata.
const MOST_METADATA: usize = 8192;

/// What a reader gets.
pub enum Found {
    /// The object, which of its bytes, and these.
    Whole(Box<Object>, Resolved, BlobStream),
    /// The object is not as the reader wants it. `unchanged`: what the reader has is still good.
    Unmet {
        /// As it is.
        object: Box<Object>,
        /// `If-None-Match` or `If-Modified-Since` did not hold.
        unchanged: bool,
    },
}

/// How an object is written.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// What is said with it.
    pub metadata: Metadata,
    /// What must hold of the object that is there.
    pub conditions: Conditions,
    /// What the bytes must have.
    pub expected: Sums,
    /// What else is computed and kept.
    pub compute: Vec<Algorithm>,
    /// Bytes that must come; `None`: as many as do.
    pub size: Option<u64>,
}

impl Metadata {
    pub(crate) fn check(&self) -> Result<(), R2Error> {
        let custom = self.custom.iter();
        let bytes: usize = custom.map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MOST_METADATA {
            return Err(R2Error::MetadataTooLarge);
        }
        Ok(())
    }
}

/// Refuses what is no key.
pub(super) fn key(key: &str) -> Result<String, R2Error> {
    if is_key(key) {
        Ok(key.to_owned())
    } else {
        Err(R2Error::Key)
    }
}

impl R2 {
    /// What is known about an object.
    ///
    /// # Errors
    /// No such bucket or object.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Object, R2Error> {
        let (bucket, key) = (bucket.to_owned(), self::key(key)?);
        self.index(move |inner| inner.index.head(&bucket, &key))
            .await
    }

    /// An object and its bytes, or some of them.
    ///
    /// # Errors
    /// No such bucket or object; no such bytes.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        conditions: Conditions,
        range: Range,
    ) -> Result<Found, R2Error> {
        let (bucket, key) = (bucket.to_owned(), self::key(key)?);
        let read = self.index(move |inner| {
            let hold = |object: &Object, segments| {
                let range = range.resolve(object.size)?;
                let held = wanted(segments, range)
                    .into_iter()
                    .map(|(blob, range)| (inner.leases.take(&blob), range));
                Ok((range, held.collect::<Held>()))
            };
            inner.index.read(&bucket, &key, &conditions, hold)
        });
        Ok(match read.await? {
            Ok((object, (range, held))) => Found::Whole(Box::new(object), range, self.stream(held)),
            Err((object, unmet)) => Found::Unmet {
                object: Box::new(object),
                unchanged: unmet == Unmet::Unchanged,
            },
        })
    }

    /// Writes an object: all of it, or nothing on an error.
    ///
    /// # Errors
    /// No such bucket; bytes that are not what was said of them; conditions that do not hold.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        put: Put,
        body: Body,
    ) -> Result<Object, R2Error> {
        let (bucket, key) = (bucket.to_owned(), self::key(key)?);
        put.metadata.check()?;
        if put.size.is_some_and(|size| size > MOST_AT_ONCE) {
            return Err(R2Error::TooLarge);
        }
        // Neither bytes nor time are spent on what cannot be.
        let (name, object, conditions) = (bucket.clone(), key.clone(), put.conditions.clone());
        self.index(move |inner| {
            inner.index.bucket(&name)?;
            let there = match inner.index.head(&name, &object) {
                Ok(there) => Some(there),
                Err(R2Error::NoSuchKey) => None,
                Err(error) => return Err(error),
            };
            let present = there.as_ref().map(|it| (it.etag.as_str(), it.uploaded));
            match conditions.check(present) {
                Ok(()) => Ok(()),
                Err(_) => Err(R2Error::Precondition(there.map(Box::new))),
            }
        })
        .await?;
        let mut compute = put.compute;
        compute.extend(put.expected.0.keys());
        let written = self.write(body, compute, MOST_AT_ONCE).await?;
        if put.size.is_some_and(|size| size != written.size) {
            return Err(R2Error::Incomplete);
        }
        written.sums.compare(&put.expected)?;
        let etag = hex(written.sums.get(Algorithm::Md5).unwrap_or_default());
        let segment = written.blob.as_ref().map(|blob| Segment {
            blob: blob.name(),
            size: written.size,
        });
        let new = NewObject {
            key,
            size: written.size,
            etag,
            metadata: put.metadata,
            sums: written.sums,
            segments: segment.into_iter().collect(),
        };
        let conditions = put.conditions;
        let blob = written.blob;
        // Goes on to its end when the caller is gone: it knows then whether the blob is named.
        let store = self.clone();
        let commit = tokio::spawn(async move {
            let stored = store
                .index(move |inner| inner.index.put(&bucket, new, &conditions, now()))
                .await;
            let (object, free) = stored?;
            crash_point("r2.object.committed");
            if let Some(blob) = blob {
                blob.keep();
            }
            store.doom(free);
            crash_point("r2.object.replaced");
            Ok(object)
        });
        commit.await?
    }

    /// Writes an object with the bytes of another one, at once. `metadata`: other than the source's.
    ///
    /// # Errors
    /// No such bucket or object; conditions on the source that do not hold.
    pub async fn copy(
        &self,
        (from_bucket, from): (&str, &str),
        (to_bucket, to): (&str, &str),
        conditions: Conditions,
        metadata: Option<Metadata>,
    ) -> Result<Object, R2Error> {
        if let Some(metadata) = &metadata {
            metadata.check()?;
        }
        let (from, to) = (
            (from_bucket.to_owned(), key(from)?),
            (to_bucket.to_owned(), key(to)?),
        );
        let copied = self.index(move |inner| {
            let (from, to) = (
                (from.0.as_str(), from.1.as_str()),
                (to.0.as_str(), to.1.as_str()),
            );
            inner.index.copy(from, to, &conditions, metadata, now())
        });
        let (object, free) = copied.await?;
        self.doom(free);
        Ok(object)
    }

    /// Deletes objects; those that are not there are no error.
    ///
    /// # Errors
    /// No such bucket.
    pub async fn delete(&self, bucket: &str, keys: Vec<String>) -> Result<(), R2Error> {
        if keys.iter().any(|key| !is_key(key)) {
            return Err(R2Error::Key);
        }
        let bucket = bucket.to_owned();
        let deleted = self.index(move |inner| inner.index.delete(&bucket, &keys));
        let free = deleted.await?;
        self.doom(free);
        Ok(())
    }

    /// A page of a bucket's keys.
    ///
    /// # Errors
    /// No such bucket.
    pub async fn list(&self, bucket: &str, options: ListOptions) -> Result<Listing, R2Error> {
        let bucket = bucket.to_owned();
        self.index(move |inner| inner.index.list(&bucket, &options))
            .await
    }
}
