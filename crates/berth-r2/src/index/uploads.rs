//! Uploads in parts.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::buckets::find;
use super::objects::{NewObject, put, segments};
use super::{Index, columns, disown, fresh, kept, metadata, number, text};
use crate::condition::Conditions;
use crate::crash::crash_point;
use crate::digest::{Algorithm, etag_of_parts};
use crate::object::{Object, Part, Upload};
use crate::{R2Error, Sums};

/// Bytes of a part that is not the last.
const LEAST_PART: u64 = 5 << 20;
/// Bytes of an object.
const MOST_BYTES: u64 = 5 << 40;

/// A part that is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewPart {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) sums: Sums,
    pub(crate) etag: String,
    /// `None`: it has no bytes.
    pub(crate) blob: Option<String>,
}

const UPLOAD: &str = "id, key, created, class, http, custom, algorithm";

fn upload(row: &Row<'_>) -> Result<Upload, rusqlite::Error> {
    let algorithm: Option<String> = row.get(6)?;
    Ok(Upload {
        id: row.get(0)?,
        key: text(row, 1)?,
        created: number(row, 2)?,
        metadata: metadata(row, 3)?,
        algorithm: algorithm.and_then(|word| serde_json::from_value(word.into()).ok()),
    })
}

const PART: &str = "number, size, etag, uploaded, sums, owner";

fn part(row: &Row<'_>) -> Result<(Part, String), rusqlite::Error> {
    let sums: String = row.get(4)?;
    let part = Part {
        number: row.get(0)?,
        size: number(row, 1)?,
        etag: row.get(2)?,
        uploaded: number(row, 3)?,
        sums: Sums::from_json(&sums).map_err(|error| super::conversion(4, error.into()))?,
    };
    Ok((part, row.get(5)?))
}

/// An upload of this key that is under way.
fn running(connection: &Connection, bucket: i64, key: &str, id: &str) -> Result<Upload, R2Error> {
    let found = connection
        .prepare_cached(&format!(
            "SELECT {UPLOAD} FROM uploads WHERE id = ? AND bucket = ? AND key = ? AND NOT finished"
        ))?
        .query_row(params![id, bucket, key.as_bytes()], upload)
        .optional()?;
    found.ok_or(R2Error::NoSuchUpload)
}

impl Index {
    pub(crate) fn create_upload(&self, bucket: &str, upload: &Upload) -> Result<(), R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let (class, http, custom) = columns(&upload.metadata)?;
            let algorithm = upload.algorithm.map(serde_json::to_value).transpose()?;
            let algorithm = algorithm.and_then(|word| Some(word.as_str()?.to_owned()));
            transaction.execute(
                "INSERT INTO uploads (id, bucket, key, created, class, http, custom, algorithm, finished) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                params![upload.id, bucket, upload.key.as_bytes(), kept(upload.created), class, http, custom, algorithm],
            )?;
            Ok(())
        })
    }

    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        running(&connection, bucket, key, id)
    }

    /// Keeps a part, in place of a former one with its number. Blobs that are to go.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        new: &NewPart,
        now: u64,
    ) -> Result<Vec<String>, R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            running(transaction, bucket, key, id)?;
            let former: Option<String> = transaction
                .prepare_cached("SELECT owner FROM parts WHERE upload = ? AND number = ?")?
                .query_row(params![id, new.number], |row| row.get(0))
                .optional()?;
            let free = match former {
                Some(owner) => disown(transaction, &owner)?,
                None => Vec::new(),
            };
            let owner = fresh();
            transaction.execute(
                "INSERT OR REPLACE INTO parts (upload, number, owner, size, etag, uploaded, sums) VALUES (?, ?, ?, ?, ?, ?, ?)",
                params![id, new.number, owner, kept(new.size), new.etag, kept(now), new.sums.to_json()],
            )?;
            if let Some(blob) = &new.blob {
                transaction.execute(
                    "INSERT INTO segments (owner, number, blob, size) VALUES (?, 0, ?, ?)",
                    params![owner, blob, kept(new.size)],
                )?;
            }
            crash_point("r2.part.stored");
            Ok(free)
        })
    }

    /// Makes an object of parts. `same_size`: all but the last must have one size, as R2 wants it.
    #[expect(clippy::too_many_arguments, reason = "one change, in one transaction")]
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        wanted: &[(u32, String)],
        same_size: bool,
        expected: &Sums,
        conditions: &Conditions,
        now: u64,
    ) -> Result<(Object, Vec<String>), R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let upload = running(transaction, bucket, key, id)?;
            let mut parts = Vec::new();
            let mut statement = transaction.prepare_cached(&format!(
                "SELECT {PART} FROM parts WHERE upload = ? AND number = ?"
            ))?;
            for (number, etag) in wanted {
                let found = statement.query_row(params![id, number], part).optional()?;
                let found = found.filter(|(part, _)| part.etag == *etag);
                parts.push(found.ok_or(R2Error::InvalidPart)?);
            }
            drop(statement);
            check(&parts, same_size)?;
            let sums = whole(&parts, upload.algorithm);
            sums.compare(expected)?;
            let mut pieces = Vec::new();
            for (_, owner) in &parts {
                pieces.extend(segments(transaction, owner)?);
            }
            let new = NewObject {
                key: key.to_owned(),
                size: parts.iter().map(|(part, _)| part.size).sum(),
                etag: etag_of_parts(parts.iter().map(|(part, _)| part.etag.as_str())),
                metadata: upload.metadata,
                sums,
                segments: pieces,
            };
            let (object, mut free) = put(transaction, bucket, new, conditions, now)?;
            // The object has their blobs now; blobs of parts that were left out are nobody's.
            free.extend(forget(transaction, id)?);
            transaction.execute("UPDATE uploads SET finished = 1 WHERE id = ?", [id])?;
            crash_point("r2.upload.linked");
            Ok((object, free))
        })
    }

    /// Gives an upload up. Blobs that are to go.
    pub(crate) fn abort_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
    ) -> Result<Vec<String>, R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let finished: Option<bool> = transaction
                .prepare_cached(
                    "SELECT finished FROM uploads WHERE id = ? AND bucket = ? AND key = ?",
                )?
                .query_row(params![id, bucket, key.as_bytes()], |row| row.get(0))
                .optional()?;
            match finished {
                None => Err(R2Error::NoSuchUpload),
                Some(true) => Ok(Vec::new()),
                Some(false) => {
                    transaction.execute("UPDATE uploads SET finished = 1 WHERE id = ?", [id])?;
                    Ok(forget(transaction, id)?)
                }
            }
        })
    }

    /// Gives up what was begun before, and forgets what was finished. Blobs that are to go.
    pub(crate) fn expire_uploads(&self, before: u64) -> Result<Vec<String>, R2Error> {
        self.change(|transaction| {
            let ids: Vec<String> = transaction
                .prepare_cached("SELECT id FROM uploads WHERE created < ?")?
                .query_map([kept(before)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            give_up(transaction, &ids)
        })
    }

    /// Gives up uploads of keys that begin with `prefix` and that were begun until `until`; the blobs that nobody
    /// needs.
    pub(crate) fn abort_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        until: u64,
    ) -> Result<Vec<String>, R2Error> {
        let prefix = prefix.as_bytes();
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let ids: Vec<String> = transaction
                .prepare_cached(
                    "SELECT id FROM uploads WHERE bucket = ?1 AND NOT finished AND key >= ?2 \
                     AND substr(key, 1, length(?2)) = ?2 AND created <= ?3",
                )?
                .query_map(params![bucket, prefix, kept(until)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            give_up(transaction, &ids)
        })
    }

    /// Parts with greater numbers than `after`.
    pub(crate) fn parts(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        after: u32,
        most: usize,
    ) -> Result<(Upload, Vec<Part>), R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        let upload = running(&connection, bucket, key, id)?;
        let parts = connection
            .prepare_cached(&format!(
                "SELECT {PART} FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?"
            ))?
            .query_map(params![id, after, kept(most as u64)], part)?
            .map(|found| found.map(|(part, _)| part))
            .collect::<Result<_, _>>()?;
        Ok((upload, parts))
    }

    /// Uploads under way, by key and id, after this place.
    pub(crate) fn uploads(
        &self,
        bucket: &str,
        (key, id): (&str, &str),
        most: usize,
    ) -> Result<Vec<Upload>, R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, bucket)?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {UPLOAD} FROM uploads WHERE bucket = ? AND NOT finished AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?"
        ))?;
        let rows = statement.query_map(
            params![bucket, key.as_bytes(), id, kept(most as u64)],
            upload,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Forgets uploads with their parts; the blobs that nobody needs any more.
fn give_up(
    transaction: &rusqlite::Transaction<'_>,
    ids: &[String],
) -> Result<Vec<String>, R2Error> {
    let mut free = Vec::new();
    for id in ids {
        free.extend(forget(transaction, id)?);
        transaction.execute("DELETE FROM uploads WHERE id = ?", [id])?;
    }
    Ok(free)
}

/// Takes the parts of an upload away.
fn forget(
    transaction: &rusqlite::Transaction<'_>,
    id: &str,
) -> Result<Vec<String>, rusqlite::Error> {
    let owners: Vec<String> = transaction
        .prepare_cached("DELETE FROM parts WHERE upload = ? RETURNING owner")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut free = Vec::new();
    for owner in owners {
        free.extend(disown(transaction, &owner)?);
    }
    Ok(free)
}

fn check(parts: &[(Part, String)], same_size: bool) -> Result<(), R2Error> {
    let Some(((last, _), others)) = parts.split_last() else {
        return Err(R2Error::Argument(
            "An upload needs at least one part.".to_owned(),
        ));
    };
    if parts
        .windows(2)
        .any(|pair| pair[0].0.number >= pair[1].0.number)
    {
        return Err(R2Error::PartOrder);
    }
    if others.iter().any(|(part, _)| part.size < LEAST_PART) {
        return Err(R2Error::TooSmall);
    }
    let size = others.first().map_or(last.size, |(part, _)| part.size);
    if same_size && (others.iter().any(|(part, _)| part.size != size) || last.size > size) {
        return Err(R2Error::BadUpload);
    }
    if parts.iter().map(|(part, _)| part.size).sum::<u64>() > MOST_BYTES {
        return Err(R2Error::TooLarge);
    }
    Ok(())
}

/// The sums of the whole that the parts' tell.
fn whole(parts: &[(Part, String)], algorithm: Option<Algorithm>) -> Sums {
    let mut sums = Sums::default();
    if let Some(algorithm) = algorithm {
        let each: Option<Vec<(&[u8], u64)>> = parts
            .iter()
            .map(|(part, _)| Some((part.sums.get(algorithm)?, part.size)))
            .collect();
        if let Some(sum) = each.and_then(|each| algorithm.combine(&each)) {
            sums.0.insert(algorithm, sum);
        }
    }
    sums
}
