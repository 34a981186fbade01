//! The database: a row for each hour, Worker and instance.
//!
//! WAL with `synchronous=NORMAL`: a crash of the process loses nothing that was added, a power cut at most the
//! last moments.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params_from_iter};

use crate::{Amounts, UsageError};

/// Format of the database (`PRAGMA user_version`).
const FORMAT: i64 = 1;

/// The columns of [`Amounts`], in their order.
const COLUMNS: [&str; 9] = [
    "requests",
    "starts",
    "running_ms",
    "vcpu_us",
    "memory_mib_ms",
    "disk_mb_ms",
    "cpu_ns",
    "egress_bytes",
    "ingress_bytes",
];

/// Milliseconds of what one row is about.
pub const HOUR_MS: u64 = 3_600_000;

/// Who has used it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The Worker's name.
    pub app: String,
    /// The Durable Object whose container it is; empty: the Worker itself.
    pub instance: String,
    /// What a person knows the container as.
    pub label: String,
}

/// What somebody has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Who.
    pub subject: Subject,
    /// How much.
    pub amounts: Amounts,
}

/// What has been used, by the hour. Calls block for as long as the disk takes.
#[derive(Debug)]
pub struct Ledger {
    connection: Mutex<Connection>,
}

impl Ledger {
    /// Opens a database, which is made if it is not there. Its directory must be.
    ///
    /// # Errors
    /// It cannot be made, is no database, or is of a newer version's.
    pub fn open(path: &Path) -> Result<Self, UsageError> {
        private(path).map_err(|source| UsageError::Io {
            path: path.to_owned(),
            source,
        })?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            FORMAT => {}
            0 => connection.execute_batch(&schema())?,
            found => {
                return Err(UsageError::Newer {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
        }
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Adds what was used in the hour of `at_ms` (Unix milliseconds): all of it or, on an error, nothing.
    ///
    /// # Errors
    /// [`UsageError::Database`].
    pub fn add(&self, at_ms: u64, used: &[Used]) -> Result<(), UsageError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        {
            let mut add = transaction.prepare_cached(&upsert())?;
            for one in used {
                let subject = &one.subject;
                let names = [&subject.app, &subject.instance, &subject.label];
                let hour = rusqlite::types::Value::from(signed(at_ms / HOUR_MS));
                let names = names.map(|name| rusqlite::types::Value::from(name.clone()));
                let amounts = one.amounts.columns().map(signed);
                let amounts = amounts.map(rusqlite::types::Value::from);
                add.execute(params_from_iter(
                    std::iter::once(hour).chain(names).chain(amounts),
                ))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// What was used in the hours that begin in this time (Unix milliseconds; the first one also if it has
    /// begun before), by Worker and instance.
    ///
    /// # Errors
    /// [`UsageError::Database`].
    pub fn between(&self, from_ms: u64, until_ms: u64) -> Result<Vec<Used>, UsageError> {
        let sums: Vec<String> = COLUMNS.iter().map(|name| format!("SUM({name})")).collect();
        let query = format!(
            "SELECT app, instance, MAX(label), {} FROM used WHERE hour >= ? AND hour * {HOUR_MS} < ? \
             GROUP BY app, instance ORDER BY app, instance",
            sums.join(", ")
        );
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&query)?;
        let range = [signed(from_ms / HOUR_MS), signed(until_ms)];
        let rows = statement.query_map(range, |row| {
            let mut columns = [0; COLUMNS.len()];
            for (index, column) in columns.iter_mut().enumerate() {
                let sum: i64 = row.get(index + 3)?;
                *column = sum.unsigned_abs();
            }
            Ok(Used {
                subject: Subject {
                    app: row.get(0)?,
                    instance: row.get(1)?,
                    label: row.get(2)?,
                },
                amounts: Amounts::of_columns(columns),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets the hours before this time (Unix milliseconds).
    ///
    /// # Errors
    /// [`UsageError::Database`].
    pub fn forget_before(&self, at_ms: u64) -> Result<(), UsageError> {
        let hour = signed(at_ms / HOUR_MS);
        self.lock()
            .execute("DELETE FROM used WHERE hour < ?", [hour])?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left is rolled back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn schema() -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|name| format!("{name} INTEGER NOT NULL"))
        .collect();
    format!(
        "BEGIN; CREATE TABLE used (hour INTEGER NOT NULL, app TEXT NOT NULL, instance TEXT NOT NULL, \
         label TEXT NOT NULL, {}, PRIMARY KEY (hour, app, instance)) WITHOUT ROWID; \
         PRAGMA user_version = {FORMAT}; COMMIT;",
        columns.join(", ")
    )
}

fn upsert() -> String {
    let marks = vec!["?"; COLUMNS.len() + 4].join(", ");
    let sums: Vec<String> = COLUMNS
        .iter()
        .map(|name| format!("{name} = {name} + excluded.{name}"))
        .collect();
    format!(
        "INSERT INTO used (hour, app, instance, label, {}) VALUES ({marks}) \
         ON CONFLICT (hour, app, instance) DO UPDATE SET label = excluded.label, {}",
        COLUMNS.join(", "),
        sums.join(", ")
    )
}

/// SQLite's whole numbers have a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// For its owner only.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let made = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(app: &str, instance: &str) -> Subject {
        Subject {
            app: app.to_owned(),
            instance: instance.to_owned(),
            label: format!("Class/{instance}"),
        }
    }

    fn ran(app: &str, instance: &str, ms: u64) -> Used {
        Used {
            subject: subject(app, instance),
            amounts: Amounts::of_size(1000, 1024, 1000, ms),
        }
    }

    #[test]
    fn what_is_added_is_kept_by_the_hour() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usage.db");
        let ledger = Ledger::open(&path).unwrap();
        let hour = |number: u64| number * HOUR_MS;
        let first = [ran("a", "1", 100), ran("a", "2", 50)];
        ledger.add(hour(10), &first).unwrap();
        ledger.add(hour(10) + 5, &[ran("a", "1", 11)]).unwrap();
        let later = [ran("b", "", 7), ran("a", "1", 1)];
        ledger.add(hour(12) - 1, &later).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        let running = |from, until| {
            let used = ledger.between(from, until).unwrap().into_iter();
            let used = used.map(|used| (used.subject.app, used.subject.instance, used.amounts));
            let used = used.map(|(app, one, sum)| format!("{app}/{one} {}", sum.running_ms));
            used.collect::<Vec<_>>()
        };
        assert_eq!(running(0, hour(100)), ["a/1 112", "a/2 50", "b/ 7"]);
        assert_eq!(running(hour(10) + 9, hour(11)), ["a/1 111", "a/2 50"]);
        assert_eq!(running(hour(11), hour(12)), ["a/1 1", "b/ 7"]);
        assert_eq!(running(hour(12), hour(100)), [""; 0]);
        ledger.forget_before(hour(11)).unwrap();
        assert_eq!(running(0, hour(100)), ["a/1 1", "b/ 7"]);
    }

    #[test]
    fn all_columns_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("usage.db")).unwrap();
        let amounts = Amounts::of_columns([1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let used = Used {
            subject: subject("a", "1"),
            amounts,
        };
        ledger.add(0, &[used.clone(), used]).unwrap();
        let [back] = &ledger.between(0, 1).unwrap()[..] else {
            panic!("one row");
        };
        let twice = Amounts::of_columns([2, 4, 6, 8, 10, 12, 14, 16, 18]);
        assert_eq!(back.amounts, twice);
        assert_eq!(back.subject, subject("a", "1"));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usage.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert!(
            matches!(error, UsageError::Newer { found: 99, .. }),
            "{error}"
        );
        assert!(error.hint().is_some());
    }

    use berth_error::Hint as _;
}
