//! What is known about buckets, objects and uploads, in SQLite.
//!
//! Calls block for as long as the disk takes. One change is one transaction; one connection, so that
//! what is read in a call is what the call changes. Keys are compared as bytes.

mod buckets;
mod lifecycle;
mod objects;
mod uploads;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};

use crate::object::{Metadata, Object};
use crate::{Failure, R2Error, Sums};

pub use buckets::BucketInfo;
pub(crate) use objects::{NewObject, Segment};
pub(crate) use uploads::NewPart;

/// Format of the database (`PRAGMA user_version`).
const FORMAT: i64 = 1;

/// `segments.owner` is an object's version, or a part's own id. A blob may belong to several owners.
const SCHEMA: &str = "
    CREATE TABLE store (id TEXT NOT NULL);
    CREATE TABLE buckets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        class TEXT NOT NULL,
        settings TEXT NOT NULL
    );
    CREATE TABLE objects (
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        version TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        uploaded INTEGER NOT NULL,
        class TEXT NOT NULL,
        http TEXT NOT NULL,
        custom TEXT NOT NULL,
        sums TEXT NOT NULL,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID;
    CREATE TABLE segments (
        owner TEXT NOT NULL,
        number INTEGER NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        PRIMARY KEY (owner, number)
    ) WITHOUT ROWID;
    CREATE INDEX segments_of_blobs ON segments (blob);
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        created INTEGER NOT NULL,
        class TEXT NOT NULL,
        http TEXT NOT NULL,
        custom TEXT NOT NULL,
        algorithm TEXT,
        finished INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX uploads_of_keys ON uploads (bucket, key, id) WHERE NOT finished;
    CREATE TABLE parts (
        upload TEXT NOT NULL,
        number INTEGER NOT NULL,
        owner TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        uploaded INTEGER NOT NULL,
        sums TEXT NOT NULL,
        PRIMARY KEY (upload, number)
    ) WITHOUT ROWID;
";

/// The database.
#[derive(Debug)]
pub(crate) struct Index {
    connection: Mutex<Connection>,
    /// Of this store, for ever.
    pub(crate) id: String,
}

impl Index {
    /// Opens the database of this name, which is made if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        private(path)?;
        let mut connection = Connection::open(path)?;
        // A commit that was answered survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            FORMAT => {}
            0 => {
                let new = connection.transaction()?;
                new.execute_batch(SCHEMA)?;
                new.execute("INSERT INTO store (id) VALUES (?)", [&fresh()[..8]])?;
                new.pragma_update(None, "user_version", FORMAT)?;
                new.commit()?;
            }
            found => {
                return Err(Failure::Newer {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
        }
        let id = connection.query_row("SELECT id FROM store", [], |row| row.get(0))?;
        Ok(Self {
            connection: Mutex::new(connection),
            id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left is rolled back when it is dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// One change: all of it, or nothing on an error.
    fn change<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, R2Error>,
    ) -> Result<T, R2Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Whether any object or part has bytes.
    pub(crate) fn has_bytes(&self) -> Result<bool, Failure> {
        let connection = self.lock();
        let count: i64 =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM segments)", [], |row| {
                row.get(0)
            })?;
        Ok(count != 0)
    }

    /// Which of these blobs belong to nobody.
    pub(crate) fn unknown(&self, blobs: Vec<String>) -> Result<Vec<String>, Failure> {
        let mut unknown = Vec::new();
        for blobs in blobs.chunks(1000) {
            // Others have their turn in between.
            let connection = self.lock();
            for blob in blobs {
                if !is_used(&connection, blob)? {
                    unknown.push(blob.clone());
                }
            }
        }
        Ok(unknown)
    }
}

/// A name that nothing has yet.
pub(crate) fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn is_used(connection: &Connection, blob: &str) -> Result<bool, rusqlite::Error> {
    connection
        .prepare_cached("SELECT 1 FROM segments WHERE blob = ? LIMIT 1")?
        .query_row([blob], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

/// Takes the segments of an owner away. Those of their blobs that nobody needs any more.
fn disown(transaction: &Transaction<'_>, owner: &str) -> Result<Vec<String>, rusqlite::Error> {
    let blobs: Vec<String> = transaction
        .prepare_cached("DELETE FROM segments WHERE owner = ? RETURNING blob")?
        .query_map([owner], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut free = Vec::new();
    for blob in blobs {
        if !free.contains(&blob) && !is_used(transaction, &blob)? {
            free.push(blob);
        }
    }
    Ok(free)
}

/// Columns of [`object`], in its order.
const OBJECT: &str = "key, version, size, etag, uploaded, class, http, custom, sums";

/// A number that is not negative, as SQLite keeps it.
fn number(row: &Row<'_>, at: usize) -> Result<u64, rusqlite::Error> {
    let number: i64 = row.get(at)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, number))
}

/// The same, on its way in. Sizes and times are far below the most that there is.
fn kept(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(row: &Row<'_>, at: usize) -> Result<String, rusqlite::Error> {
    let bytes: Vec<u8> = row.get(at)?;
    String::from_utf8(bytes).map_err(|error| conversion(at, error.into()))
}

fn conversion(
    at: usize,
    error: Box<dyn std::error::Error + Send + Sync + 'static>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error)
}

fn object(row: &Row<'_>) -> Result<Object, rusqlite::Error> {
    let sums: String = row.get(8)?;
    Ok(Object {
        key: text(row, 0)?,
        version: row.get(1)?,
        size: number(row, 2)?,
        etag: row.get(3)?,
        uploaded: number(row, 4)?,
        metadata: metadata(row, 5)?,
        sums: Sums::from_json(&sums).map_err(|error| conversion(8, error.into()))?,
    })
}

/// From three columns: class, http, custom.
fn metadata(row: &Row<'_>, at: usize) -> Result<Metadata, rusqlite::Error> {
    let (class, http, custom): (String, String, String) =
        (row.get(at)?, row.get(at + 1)?, row.get(at + 2)?);
    Ok(Metadata {
        class: crate::StorageClass::parse(&class).unwrap_or_default(),
        http: serde_json::from_str(&http).map_err(|error| conversion(at + 1, error.into()))?,
        custom: serde_json::from_str(&custom).map_err(|error| conversion(at + 2, error.into()))?,
    })
}

/// As three columns: class, http, custom.
fn columns(metadata: &Metadata) -> Result<(&'static str, String, String), Failure> {
    Ok((
        metadata.class.word(),
        serde_json::to_string(&metadata.http)?,
        serde_json::to_string(&metadata.custom)?,
    ))
}

/// The database is its owner's alone from the beginning; SQLite gives its other files the same mode.
fn private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let made = options.open(path);
    made.map(drop).map_err(|source| Failure::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })
}
