//! Buckets.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Index, kept, number};
use crate::R2Error;
use crate::object::StorageClass;

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Of objects whose writer names none.
    pub class: StorageClass,
    /// What its owner has set, by topic (`cors`, `lifecycle`), as it was sent.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

fn info(row: &Row<'_>) -> Result<BucketInfo, rusqlite::Error> {
    let (class, settings): (String, String) = (row.get(2)?, row.get(3)?);
    Ok(BucketInfo {
        name: row.get(0)?,
        created: number(row, 1)?,
        class: StorageClass::parse(&class).unwrap_or_default(),
        settings: serde_json::from_str(&settings)
            .map_err(|error| super::conversion(3, error.into()))?,
    })
}

/// The number of a bucket, and what its objects are by default.
pub(super) fn find(connection: &Connection, name: &str) -> Result<(i64, StorageClass), R2Error> {
    let found: Option<(i64, String)> = connection
        .prepare_cached("SELECT id, class FROM buckets WHERE name = ?")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (id, class) = found.ok_or_else(|| R2Error::NoSuchBucket(name.to_owned()))?;
    Ok((id, StorageClass::parse(&class).unwrap_or_default()))
}

impl Index {
    pub(crate) fn create_bucket(
        &self,
        name: &str,
        class: StorageClass,
        now: u64,
    ) -> Result<BucketInfo, R2Error> {
        self.change(|transaction| {
            let made = transaction.execute(
                "INSERT OR IGNORE INTO buckets (name, created, class, settings) VALUES (?, ?, ?, '{}')",
                params![name, kept(now), class.word()],
            )?;
            if made == 0 {
                return Err(R2Error::BucketExists(name.to_owned()));
            }
            Ok(BucketInfo {
                name: name.to_owned(),
                created: now,
                class,
                settings: serde_json::Map::new(),
            })
        })
    }

    pub(crate) fn bucket(&self, name: &str) -> Result<BucketInfo, R2Error> {
        let found = self
            .lock()
            .prepare_cached("SELECT name, created, class, settings FROM buckets WHERE name = ?")?
            .query_row([name], info)
            .optional()?;
        found.ok_or_else(|| R2Error::NoSuchBucket(name.to_owned()))
    }

    pub(crate) fn buckets(&self) -> Result<Vec<BucketInfo>, R2Error> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT name, created, class, settings FROM buckets ORDER BY name")?;
        let rows = statement.query_map([], info)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Objects, and bytes of them.
    pub(crate) fn usage(&self, name: &str) -> Result<(u64, u64), R2Error> {
        let connection = self.lock();
        let (bucket, _) = find(&connection, name)?;
        Ok(connection
            .prepare_cached(
                "SELECT count(*), coalesce(sum(size), 0) FROM objects WHERE bucket = ?",
            )?
            .query_row([bucket], |row| Ok((number(row, 0)?, number(row, 1)?)))?)
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), R2Error> {
        self.change(|transaction| {
            let (bucket, _) = find(transaction, name)?;
            for used in [
                "SELECT 1 FROM objects WHERE bucket = ? LIMIT 1",
                "SELECT 1 FROM uploads WHERE bucket = ? AND NOT finished LIMIT 1",
            ] {
                let found = transaction
                    .query_row(used, [bucket], |_| Ok(()))
                    .optional()?;
                if found.is_some() {
                    return Err(R2Error::BucketNotEmpty(name.to_owned()));
                }
            }
            transaction.execute("DELETE FROM uploads WHERE bucket = ?", [bucket])?;
            transaction.execute("DELETE FROM buckets WHERE id = ?", [bucket])?;
            Ok(())
        })
    }

    /// Changes what its owner has set.
    pub(crate) fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut BucketInfo),
    ) -> Result<BucketInfo, R2Error> {
        self.change(|transaction| {
            let found = transaction
                .prepare_cached(
                    "SELECT name, created, class, settings FROM buckets WHERE name = ?",
                )?
                .query_row([name], info)
                .optional()?;
            let mut bucket = found.ok_or_else(|| R2Error::NoSuchBucket(name.to_owned()))?;
            change(&mut bucket);
            let settings = serde_json::to_string(&bucket.settings)?;
            transaction.execute(
                "UPDATE buckets SET class = ?, settings = ? WHERE name = ?",
                params![bucket.class.word(), settings, name],
            )?;
            Ok(bucket)
        })
    }
}
