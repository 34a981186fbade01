//! Uploads in parts.

use super::objects::{MOST_AT_ONCE, key};
use super::{Body, R2, now};
use crate::condition::Conditions;
use crate::crash::crash_point;
use crate::digest::{Algorithm, hex};
use crate::index::{NewPart, fresh};
use crate::object::{Metadata, Object, Part, Upload};
use crate::{R2Error, Sums};

/// Numbers of parts.
const MOST_PARTS: u32 = 10_000;

/// How an upload is completed.
#[derive(Clone, Debug, Default)]
pub struct NewUpload {
    /// Numbers and entity tags of its parts, in order.
    pub parts: Vec<(u32, String)>,
    /// All parts but the last must have one size, as R2 wants it of Workers.
    pub same_size: bool,
    /// What the whole must have, as far as its parts tell.
    pub expected: Sums,
    /// What must hold of the object that is there.
    pub conditions: Conditions,
}

impl R2 {
    /// Begins one. `algorithm`: computed of every part.
    ///
    /// # Errors
    /// No such bucket.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        metadata: Metadata,
        algorithm: Option<Algorithm>,
    ) -> Result<Upload, R2Error> {
        metadata.check()?;
        let upload = Upload {
            id: fresh() + &fresh(),
            key: self::key(key)?,
            created: now(),
            metadata,
            algorithm,
        };
        let bucket = bucket.to_owned();
        self.index(move |inner| {
            inner.index.create_upload(&bucket, &upload)?;
            Ok(upload)
        })
        .await
    }

    /// Keeps a part, in place of a former one of this number.
    ///
    /// # Errors
    /// No such bucket or upload; bytes that are not what was said of them.
    pub async fn put_part(
        &self,
        (bucket, key, id): (&str, &str, &str),
        number: u32,
        size: Option<u64>,
        expected: Sums,
        body: Body,
    ) -> Result<Part, R2Error> {
        if !(1..=MOST_PARTS).contains(&number) {
            let text = format!("Part number must be between 1 and {MOST_PARTS}, inclusive.");
            return Err(R2Error::Argument(text));
        }
        if size.is_some_and(|size| size > MOST_AT_ONCE) {
            return Err(R2Error::TooLarge);
        }
        let (bucket, key, id) = (bucket.to_owned(), self::key(key)?, id.to_owned());
        let names = (bucket.clone(), key.clone(), id.clone());
        let upload = self
            .index(move |inner| inner.index.upload(&names.0, &names.1, &names.2))
            .await?;
        let mut compute: Vec<Algorithm> = upload.algorithm.into_iter().collect();
        compute.extend(expected.0.keys());
        let written = self.write(body, compute, MOST_AT_ONCE).await?;
        if size.is_some_and(|size| size != written.size) {
            return Err(R2Error::Incomplete);
        }
        written.sums.compare(&expected)?;
        let new = NewPart {
            number,
            size: written.size,
            etag: hex(written.sums.get(Algorithm::Md5).unwrap_or_default()),
            sums: written.sums,
            blob: written.blob.as_ref().map(super::write::Pending::name),
        };
        let (blob, store, uploaded) = (written.blob, self.clone(), now());
        let commit = tokio::spawn(async move {
            let (new, free) = store
                .index(move |inner| {
                    let free = inner.index.put_part(&bucket, &key, &id, &new, uploaded)?;
                    Ok((new, free))
                })
                .await?;
            crash_point("r2.part.committed");
            if let Some(blob) = blob {
                blob.keep();
            }
            store.doom(free);
            Ok(Part {
                number: new.number,
                size: new.size,
                etag: new.etag,
                uploaded,
                sums: new.sums,
            })
        });
        commit.await?
    }

    /// Makes an object of parts: all of it, or nothing on an error.
    ///
    /// # Errors
    /// No such bucket or upload; parts that are not there, or make no object.
    pub async fn complete_upload(
        &self,
        (bucket, key, id): (&str, &str, &str),
        new: NewUpload,
    ) -> Result<Object, R2Error> {
        let (bucket, key, id) = (bucket.to_owned(), self::key(key)?, id.to_owned());
        let completed = self.index(move |inner| {
            let completed = inner.index.complete_upload(
                &bucket,
                &key,
                &id,
                &new.parts,
                new.same_size,
                &new.expected,
                &new.conditions,
                now(),
            );
            crash_point("r2.upload.committed");
            completed
        });
        let (object, free) = completed.await?;
        self.doom(free);
        Ok(object)
    }

    /// Gives an upload up; one that is finished is no error.
    ///
    /// # Errors
    /// No such bucket or upload.
    pub async fn abort_upload(&self, (bucket, key, id): (&str, &str, &str)) -> Result<(), R2Error> {
        let (bucket, key, id) = (bucket.to_owned(), self::key(key)?, id.to_owned());
        let aborted = self.index(move |inner| inner.index.abort_upload(&bucket, &key, &id));
        let free = aborted.await?;
        self.doom(free);
        Ok(())
    }

    /// An upload and its parts with numbers above `after`, at most so many.
    ///
    /// # Errors
    /// No such bucket or upload.
    pub async fn parts(
        &self,
        (bucket, key, id): (&str, &str, &str),
        after: u32,
        most: usize,
    ) -> Result<(Upload, Vec<Part>), R2Error> {
        let (bucket, key, id) = (bucket.to_owned(), self::key(key)?, id.to_owned());
        self.index(move |inner| inner.index.parts(&bucket, &key, &id, after, most))
            .await
    }

    /// Uploads under way, by key and id, after this place, at most so many.
    ///
    /// # Errors
    /// No such bucket.
    pub async fn uploads(
        &self,
        bucket: &str,
        (key, id): (&str, &str),
        most: usize,
    ) -> Result<Vec<Upload>, R2Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.index(move |inner| inner.index.uploads(&bucket, (&key, &id), most))
            .await
    }
}
