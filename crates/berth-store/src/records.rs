//! Records in a SQLite database.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// Format of the database (`PRAGMA user_version`).
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE records (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        revision INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE TABLE last_revision (number INTEGER NOT NULL);
    INSERT INTO last_revision VALUES (0);
";

/// A state of a record. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(i64);

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T> {
    /// What it says.
    pub value: T,
    /// To be named by whoever changes it.
    pub revision: Revision,
}

/// A record to be written together with others.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Its key.
    pub key: &'a str,
    /// What it is to say.
    pub value: &'a T,
    /// As it was read; `None`: it was not there.
    pub from: Option<Revision>,
}

/// Records of several kinds, each under a key. Cheap to clone. Calls block for as long as the disk
/// takes.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database of this name, which is made if it is not there. Its directory must be.
    ///
    /// # Errors
    /// It cannot be made, is no database, or is of a newer version's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        private(path)?;
        let connection = Connection::open(path)?;
        // A commit that was answered survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            FORMAT => {}
            0 => connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"
            ))?,
            found => {
                return Err(StoreError::Newer {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
        }
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// One record.
    ///
    /// # Errors
    /// The database fails, or the record is not what `T` writes.
    pub fn get<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        key: &str,
    ) -> Result<Option<Record<T>>, StoreError> {
        let found: Option<(String, i64)> = self
            .lock()
            .prepare_cached("SELECT value, revision FROM records WHERE kind = ? AND key = ?")?
            .query_row([kind, key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found
            .map(|(value, revision)| parse(kind, key, &value, revision))
            .transpose()
    }

    /// Every record of a kind with its key, in the keys' order.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn list<T: DeserializeOwned>(
        &self,
        kind: &'static str,
    ) -> Result<Vec<(String, Record<T>)>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT key, value, revision FROM records WHERE kind = ? ORDER BY key",
        )?;
        let rows = statement.query_map([kind], |row| {
            let key: String = row.get(0)?;
            let value: String = row.get(1)?;
            Ok((key, value, row.get(2)?))
        })?;
        let mut records = Vec::new();
        for row in rows {
            let (key, value, revision) = row?;
            let record = parse(kind, &key, &value, revision)?;
            records.push((key, record));
        }
        Ok(records)
    }

    /// Makes a record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one.
    pub fn create<T: Serialize>(
        &self,
        kind: &'static str,
        key: &str,
        value: &T,
    ) -> Result<Revision, StoreError> {
        self.change(kind, key, |transaction, revision| {
            transaction.execute(
                "INSERT OR IGNORE INTO records (kind, key, revision, value) VALUES (?, ?, ?, ?)",
                params![kind, key, revision, text(kind, key, value)?],
            )
        })
    }

    /// Changes a record that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not.
    pub fn replace<T: Serialize>(
        &self,
        kind: &'static str,
        key: &str,
        value: &T,
        from: Revision,
    ) -> Result<Revision, StoreError> {
        self.change(kind, key, |transaction, revision| {
            transaction.execute(
                "UPDATE records SET value = ?, revision = ? WHERE kind = ? AND key = ? AND revision = ?",
                params![text(kind, key, value)?, revision, kind, key, from.0],
            )
        })
    }

    /// Writes several records of a kind, all or none.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of them is not as it was read, or is there although it was not.
    pub fn write_all<T: Serialize>(
        &self,
        kind: &'static str,
        changes: &[Change<'_, T>],
    ) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let revision = next_revision(&transaction)?;
        for Change { key, value, from } in changes {
            let value = text(kind, key, value)?;
            let touched = match from {
                Some(from) => transaction.execute(
                    "UPDATE records SET value = ?, revision = ? WHERE kind = ? AND key = ? AND revision = ?",
                    params![value, revision, kind, key, from.0],
                )?,
                None => transaction.execute(
                    "INSERT OR IGNORE INTO records (kind, key, revision, value) VALUES (?, ?, ?, ?)",
                    params![kind, key, revision, value],
                )?,
            };
            if touched == 0 {
                return Err(StoreError::Conflict {
                    table: kind,
                    key: (*key).to_owned(),
                });
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Deletes a record that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not.
    pub fn delete(&self, kind: &'static str, key: &str, from: Revision) -> Result<(), StoreError> {
        self.change(kind, key, |transaction, _| {
            transaction.execute(
                "DELETE FROM records WHERE kind = ? AND key = ? AND revision = ?",
                params![kind, key, from.0],
            )
        })
        .map(drop)
    }

    /// One change with a revision of its own; that no record was touched is a conflict.
    fn change(
        &self,
        kind: &'static str,
        key: &str,
        change: impl FnOnce(&rusqlite::Transaction<'_>, i64) -> Result<usize, rusqlite::Error>,
    ) -> Result<Revision, StoreError> {
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let revision = next_revision(&transaction)?;
        if change(&transaction, revision)? == 0 {
            return Err(StoreError::Conflict {
                table: kind,
                key: key.to_owned(),
            });
        }
        transaction.commit()?;
        Ok(Revision(revision))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left is rolled back when it is dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_revision(transaction: &rusqlite::Transaction<'_>) -> Result<i64, rusqlite::Error> {
    transaction.query_row(
        "UPDATE last_revision SET number = number + 1 RETURNING number",
        [],
        |row| row.get(0),
    )
}

fn parse<T: DeserializeOwned>(
    kind: &'static str,
    key: &str,
    value: &str,
    revision: i64,
) -> Result<Record<T>, StoreError> {
    let value = serde_json::from_str(value).map_err(|source| StoreError::Malformed {
        table: kind,
        key: key.to_owned(),
        source,
    })?;
    Ok(Record {
        value,
        revision: Revision(revision),
    })
}

fn text<T: Serialize>(kind: &'static str, key: &str, value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value).map_err(|source| {
        let error = StoreError::Malformed {
            table: kind,
            key: key.to_owned(),
            source,
        };
        rusqlite::Error::ToSqlConversionFailure(Box::new(error))
    })
}

/// The database is its owner's alone from the beginning; SQLite gives its other files the same mode.
fn private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("records.db")).unwrap();
        (directory, store)
    }

    #[test]
    fn records_live_on_in_the_file() {
        let (directory, store) = store();
        let first = store.create("worker", "a", &vec![1, 2]).unwrap();
        store.replace("worker", "a", &vec![3], first).unwrap();
        store.create("worker", "b", &vec![4]).unwrap();
        store.create("token", "a", &"other").unwrap();
        drop(store);
        let path = directory.path().join("records.db");
        let store = Store::open(&path).unwrap();
        let listed = store.list::<Vec<i32>>("worker").unwrap();
        let listed: Vec<_> = listed
            .into_iter()
            .map(|(key, record)| (key, record.value))
            .collect();
        assert_eq!(
            listed,
            [("a".to_owned(), vec![3]), ("b".to_owned(), vec![4])]
        );
        assert!(store.get::<Vec<i32>>("worker", "c").unwrap().is_none());
        assert!(matches!(
            store.get::<Vec<i32>>("token", "a"),
            Err(StoreError::Malformed { .. })
        ));
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        }
    }

    #[test]
    fn records_that_change_together_change_all_or_none() {
        let (_directory, store) = store();
        let first = store.create("worker", "a", &1).unwrap();
        let both = |from| {
            let changes = [
                Change {
                    key: "a",
                    value: &2,
                    from: Some(from),
                },
                Change {
                    key: "b",
                    value: &3,
                    from: None,
                },
            ];
            store.write_all("worker", &changes)
        };
        let read = |key| {
            let record = store.get::<i32>("worker", key).unwrap();
            record.map(|record| record.value)
        };
        let second = store.replace("worker", "a", &1, first).unwrap();
        assert!(matches!(both(first), Err(StoreError::Conflict { .. })));
        assert_eq!((read("a"), read("b")), (Some(1), None));
        both(second).unwrap();
        assert_eq!((read("a"), read("b")), (Some(2), Some(3)));
        // The second one is there already: the first one stays.
        let third = store.get::<i32>("worker", "a").unwrap().unwrap().revision;
        assert!(matches!(both(third), Err(StoreError::Conflict { .. })));
        assert_eq!((read("a"), read("b")), (Some(2), Some(3)));
        let fourth = store.get::<i32>("worker", "a").unwrap().unwrap().revision;
        assert_eq!(fourth, third);
    }

    #[test]
    fn a_database_of_a_newer_version_is_left_alone() {
        let (directory, store) = store();
        store.lock().pragma_update(None, "user_version", 7).unwrap();
        drop(store);
        let error = Store::open(&directory.path().join("records.db")).unwrap_err();
        assert!(error.to_string().contains("format 7"), "{error}");
    }

    #[test]
    fn threads_that_count_lose_nothing() {
        let (_directory, store) = store();
        store.create("counter", "x", &0).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || {
                    for _ in 0..25 {
                        loop {
                            let record = store.get::<i32>("counter", "x").unwrap().unwrap();
                            let next = record.value + 1;
                            match store.replace("counter", "x", &next, record.revision) {
                                Ok(_) => break,
                                Err(StoreError::Conflict { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let record = store.get::<i32>("counter", "x").unwrap().unwrap();
        assert_eq!(record.value, 100);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Create(u8),
        Replace(u8, bool),
        Delete(u8, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let one = prop_oneof![
            (0..3_u8).prop_map(Step::Create),
            (0..3_u8, any::<bool>()).prop_map(|(key, stale)| Step::Replace(key, stale)),
            (0..3_u8, any::<bool>()).prop_map(|(key, stale)| Step::Delete(key, stale)),
        ];
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Against a map: a change happens exactly when it was made from the present revision, and
        /// revisions only grow.
        #[test]
        fn only_the_present_revision_changes(steps in steps()) {
            let (_directory, store) = store();
            let mut model = std::collections::BTreeMap::<u8, (usize, Revision)>::new();
            let mut last = Revision(0);
            let mut stale = Revision(0);
            for (number, step) in steps.into_iter().enumerate() {
                let (key, outcome, allowed) = match step {
                    Step::Create(key) => {
                        let outcome = store.create("k", &key.to_string(), &number);
                        (key, outcome.map(Some), !model.contains_key(&key))
                    }
                    Step::Replace(key, old) => {
                        let now = model.get(&key).map_or(stale, |(_, revision)| *revision);
                        let from = if old { stale } else { now };
                        let outcome = store.replace("k", &key.to_string(), &number, from);
                        let allowed = model.get(&key).is_some_and(|(_, now)| *now == from);
                        (key, outcome.map(Some), allowed)
                    }
                    Step::Delete(key, old) => {
                        let now = model.get(&key).map_or(stale, |(_, revision)| *revision);
                        let from = if old { stale } else { now };
                        let outcome = store.delete("k", &key.to_string(), from);
                        let allowed = model.get(&key).is_some_and(|(_, now)| *now == from);
                        (key, outcome.map(|()| None), allowed)
                    }
                };
                match outcome {
                    Ok(revision) => {
                        prop_assert!(allowed);
                        if let Some((_, former)) = model.remove(&key) {
                            stale = former;
                        }
                        if let Some(revision) = revision {
                            prop_assert!(revision > last);
                            last = revision;
                            model.insert(key, (number, revision));
                        }
                    }
                    Err(StoreError::Conflict { .. }) => prop_assert!(!allowed),
                    Err(error) => panic!("{error}"),
                }
                let listed = store.list::<usize>("k").unwrap();
                let listed: Vec<_> = listed
                    .into_iter()
                    .map(|(key, record)| (key, (record.value, record.revision)))
                    .collect();
                let expected: Vec<_> = model.iter().map(|(k, v)| (k.to_string(), *v)).collect();
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
