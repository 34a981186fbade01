//! Objects.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::buckets::find;
use super::{Index, OBJECT, columns, disown, fresh, kept, number, object};
use crate::condition::{Conditions, Unmet};
use crate::crash::crash_point;
use crate::list::{self, ListOptions, Listing, Span};
use crate::object::{Metadata, Object};
use crate::{R2Error, Sums};

/// Bytes of an object that are in one blob, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) blob: String,
    pub(crate) size: u64,
}

/// An object and what was made of its segments, or that it is not as its reader wants it.
pub(crate) type Read<T> = Result<(Object, T), (Object, Unmet)>;

/// An object that is to be, with the blobs that its bytes are in.
#[derive(Clone, Debug)]
pub(crate) struct NewObject {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) metadata: Metadata,
    pub(crate) sums: Sums,
    pub(crate) segments: Vec<Segment>,
}

pub(super) fn get(
    connection: &Connection,
    bucket: i64,
    key: &str,
) -> Result<Option<Object>, rusqlite::Error> {
    connection
        .prepare_cached(&format!(
            "SELECT {OBJECT} FROM objects WHERE bucket = ? AND key = ?"
        ))?
        .query_row(params![bucket, key.as_bytes()], object)
        .optional()
}

pub(super) fn segments(
    connection: &Connection,
    owner: &str,
) -> Result<Vec<Segment>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT blob, size FROM segments WHERE owner = ? ORDER BY number")?
        .query_map([owner], |row| {
            Ok(Segment {
                blob: row.get(0)?,
                size: number(row, 1)?,
            })
        })?
        .collect()
}

/// Puts an object where there may be one. The blobs that nobody needs any more.
pub(super) fn put(
    transaction: &Transaction<'_>,
    bucket: i64,
    new: NewObject,
    conditions: &Conditions,
    now: u64,
) -> Result<(Object, Vec<String>), R2Error> {
    let former = get(transaction, bucket, &new.key)?;
    let present = former.as_ref().map(|it| (it.etag.as_str(), it.uploaded));
    if conditions.check(present).is_err() {
        return Err(R2Error::Precondition(former.map(Box::new)));
    }
    let free = match &former {
        Some(former) => disown(transaction, &former.version)?,
        None => Vec::new(),
    };
    let version = fresh();
    let (class, http, custom) = columns(&new.metadata)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO objects (bucket, key, version, size, etag, uploaded, class, http, custom, sums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            bucket,
            new.key.as_bytes(),
            version,
            kept(new.size),
            new.etag,
            kept(now),
            class,
            http,
            custom,
            new.sums.to_json(),
        ])?;
    let mut insert = transaction
        .prepare_cached("INSERT INTO segments (owner, number, blob, size) VALUES (?, ?, ?, ?)")?;
    for (number, segment) in new.segments.iter().enumerate() {
        let number = kept(number as u64);
        insert.execute(params![version, number, segment.blob, kept(segment.size)])?;
    }
    // A blob that the new object shares with the old one stays.
    let shared = |blob: &String| new.segments.iter().any(|segment| segment.blob == *blob);
    let free = free.into_iter().filter(|blob| !shared(blob)).collect();
    let object = Object {
        key: new.key,
        version,
        size: new.size,
        etag: new.etag,
        uploaded: now,
        metadata: new.metadata,
        sums: new.sums,
    };
    Ok((object, free))
}

impl Index {
    pub(crate) fn head(&self, bucket: &str, key: &str) -> Result<Object, R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        get(&connection, bucket, key)?.ok_or(R2Error::NoSuchKey)
    }

    /// An object and what `hold` makes of its segments while they cannot go.
    pub(crate) fn read<T>(
        &self,
        bucket: &str,
        key: &str,
        conditions: &Conditions,
        hold: impl FnOnce(&Object, Vec<Segment>) -> Result<T, R2Error>,
    ) -> Result<Read<T>, R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        let object = get(&connection, bucket, key)?.ok_or(R2Error::NoSuchKey)?;
        if let Err(unmet) = conditions.check(Some((&object.etag, object.uploaded))) {
            return Ok(Err((object, unmet)));
        }
        let held = hold(&object, segments(&connection, &object.version)?)?;
        Ok(Ok((object, held)))
    }

    /// The object, and blobs that are to go. `free` is told of these when they are nobody's.
    pub(crate) fn put(
        &self,
        bucket: &str,
        new: NewObject,
        conditions: &Conditions,
        now: u64,
    ) -> Result<(Object, Vec<String>), R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let put = put(transaction, bucket, new, conditions, now)?;
            crash_point("r2.object.stored");
            Ok(put)
        })
    }

    /// A second object with the bytes of one that is there; both keep the blobs.
    pub(crate) fn copy(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        source: &Conditions,
        metadata: Option<Metadata>,
        now: u64,
    ) -> Result<(Object, Vec<String>), R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, from.0)?;
            let object = get(transaction, bucket, from.1)?.ok_or(R2Error::NoSuchKey)?;
            if source.check(Some((&object.etag, object.uploaded))).is_err() {
                return Err(R2Error::Precondition(Some(Box::new(object))));
            }
            let new = NewObject {
                key: to.1.to_owned(),
                size: object.size,
                etag: object.etag,
                metadata: metadata.unwrap_or(object.metadata),
                sums: object.sums,
                segments: segments(transaction, &object.version)?,
            };
            let (bucket, _) = find(transaction, to.0)?;
            put(transaction, bucket, new, &Conditions::default(), now)
        })
    }

    /// Those of the keys that were there, and blobs that are to go.
    pub(crate) fn delete(&self, bucket: &str, keys: &[String]) -> Result<Vec<String>, R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let mut free = Vec::new();
            for key in keys {
                let version: Option<String> = transaction
                    .prepare_cached(
                        "DELETE FROM objects WHERE bucket = ? AND key = ? RETURNING version",
                    )?
                    .query_row(params![bucket, key.as_bytes()], |row| row.get(0))
                    .optional()?;
                if let Some(version) = version {
                    free.extend(disown(transaction, &version)?);
                }
            }
            Ok(free)
        })
    }

    pub(crate) fn list(&self, bucket: &str, options: &ListOptions) -> Result<Listing, R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        Ok(list::page(options, |span, most| {
            scan(&connection, bucket, span, most)
        })?)
    }
}

fn scan(
    connection: &Connection,
    bucket: i64,
    span: &Span,
    most: usize,
) -> Result<Vec<Object>, rusqlite::Error> {
    let from = if span.inclusive { ">=" } else { ">" };
    let to = if span.to.is_some() {
        "AND key < ?4"
    } else {
        ""
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {OBJECT} FROM objects WHERE bucket = ?1 AND key {from} ?2 {to} ORDER BY key LIMIT ?3"
    ))?;
    let most = kept(most as u64);
    match &span.to {
        Some(to) => statement
            .query_map(params![bucket, span.from, most, to], object)?
            .collect(),
        None => statement
            .query_map(params![bucket, span.from, most], object)?
            .collect(),
    }
}
