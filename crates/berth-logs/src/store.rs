//! The database of entries.
//!
//! Owned by one thread, which writes; readers have connections of their own. WAL with `synchronous=NORMAL`:
//! a crash of the process loses nothing that was committed, a power cut at most the last moments, and
//! neither harms the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::entry::now_ms;
use crate::{Entry, Level, LogError, LogsOptions, Query, Source};

/// Format of the database (`PRAGMA user_version`).
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ms INTEGER NOT NULL,
        app TEXT NOT NULL,
        version TEXT,
        source INTEGER NOT NULL,
        instance TEXT,
        label TEXT,
        level INTEGER NOT NULL,
        invocation TEXT,
        text TEXT NOT NULL,
        data TEXT
    );
    CREATE INDEX entries_by_time ON entries (time_ms);
    CREATE INDEX entries_of_app ON entries (app, time_ms);
    CREATE INDEX entries_of_invocation ON entries (invocation) WHERE invocation IS NOT NULL;
    CREATE TABLE exported (name TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
";

const COLUMNS: &str =
    "id, time_ms, app, version, source, instance, label, level, invocation, text, data";

/// A connection.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    options: LogsOptions,
}

impl Store {
    /// Opens `<directory>/logs.db`, which is made if it is not there.
    pub(crate) fn open(directory: &Path, options: LogsOptions) -> Result<Self, LogError> {
        let path = directory.join("logs.db");
        private(directory, &path).map_err(|source| LogError::Io {
            path: path.clone(),
            source,
        })?;
        let connection = Connection::open(&path)?;
        // Before there is a table; deleting then gives space back.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            FORMAT => {}
            0 => connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"
            ))?,
            found => {
                return Err(LogError::Newer {
                    path,
                    found,
                    known: FORMAT,
                });
            }
        }
        Ok(Self {
            connection,
            options,
        })
    }

    /// Keeps entries, all or none, and gives them their ids.
    pub(crate) fn insert(&mut self, entries: &mut [Entry]) -> Result<(), LogError> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO entries (time_ms, app, version, source, instance, label, level, \
                 invocation, text, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            for entry in entries {
                entry.cut();
                let id = insert.insert(params![
                    signed(entry.time_ms),
                    entry.app,
                    entry.version,
                    entry.source.number(),
                    entry.instance,
                    entry.label,
                    entry.level.number(),
                    entry.invocation,
                    entry.text,
                    entry.data.as_ref().map(ToString::to_string),
                ])?;
                entry.id = id.unsigned_abs();
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Says of entries to which invocation and object they belong.
    pub(crate) fn link(
        &mut self,
        ids: &[u64],
        invocation: &str,
        instance: Option<&str>,
    ) -> Result<(), LogError> {
        let transaction = self.connection.transaction()?;
        for id in ids {
            transaction
                .prepare_cached("UPDATE entries SET invocation = ?, instance = ? WHERE id = ?")?
                .execute(params![invocation, instance, signed(*id)])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The entries of a question in the order of their time: the last ones, or with `after` the first
    /// ones in the order of their ids.
    pub(crate) fn query(&self, query: &Query) -> Result<Vec<Entry>, LogError> {
        let (conditions, mut values) = conditions(query);
        let order = if query.after.is_some() {
            "id"
        } else {
            "time_ms DESC, id DESC"
        };
        let most = i64::try_from(query.most()).unwrap_or(i64::MAX);
        values.push(Sql::Integer(most));
        let text =
            format!("SELECT {COLUMNS} FROM entries WHERE {conditions} ORDER BY {order} LIMIT ?");
        let mut statement = self.connection.prepare_cached(&text)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), entry)?;
        let mut entries = rows.collect::<Result<Vec<_>, _>>()?;
        if query.after.is_none() {
            entries.reverse();
        }
        Ok(entries)
    }

    /// Id of the last entry; 0: none yet.
    pub(crate) fn last(&self) -> Result<u64, LogError> {
        let last: Option<i64> =
            self.connection
                .query_row("SELECT max(id) FROM entries", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).unsigned_abs())
    }

    /// Up to which entry an export has come, if it has begun.
    pub(crate) fn exported(&self, name: &str) -> Result<Option<u64>, LogError> {
        let found: Option<i64> = self
            .connection
            .prepare_cached("SELECT id FROM exported WHERE name = ?")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        Ok(found.map(i64::unsigned_abs))
    }

    /// An export has come that far.
    pub(crate) fn set_exported(&self, name: &str, id: u64) -> Result<(), LogError> {
        self.connection
            .prepare_cached(
                "INSERT INTO exported VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET id = excluded.id",
            )?
            .execute(params![name, signed(id)])?;
        Ok(())
    }

    /// Gives up what is too old, and the oldest if there is too much. How many.
    pub(crate) fn prune(&mut self) -> Result<usize, LogError> {
        let age = u64::try_from(self.options.max_age.as_millis()).unwrap_or(u64::MAX);
        let oldest = signed(now_ms().saturating_sub(age));
        let mut gone = self
            .connection
            .execute("DELETE FROM entries WHERE time_ms < ?", [oldest])?;
        while self.used_bytes()? > self.options.max_bytes {
            let deleted = self.connection.execute(
                "DELETE FROM entries WHERE id <= (SELECT min(id) + (max(id) - min(id)) / 16 FROM entries)",
                [],
            )?;
            gone += deleted;
            if deleted == 0 {
                break;
            }
        }
        if gone > 0 {
            self.shrink()?;
        }
        Ok(gone)
    }

    /// Gives back to the file system what is free.
    fn shrink(&self) -> Result<(), LogError> {
        // Each row that is asked for frees a page.
        let mut statement = self.connection.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(checkpoint, [], |_| Ok(()))?;
        Ok(())
    }

    /// Bytes of pages that hold something.
    pub(crate) fn used_bytes(&self) -> Result<u64, LogError> {
        let number = |name: &str| -> Result<i64, LogError> {
            let text = format!("PRAGMA {name}");
            Ok(self.connection.query_row(&text, [], |row| row.get(0))?)
        };
        let pages = number("page_count")? - number("freelist_count")?;
        Ok((pages * number("page_size")?).unsigned_abs())
    }
}

fn conditions(query: &Query) -> (String, Vec<Sql>) {
    let mut conditions = vec!["1".to_owned()];
    let mut values = Vec::new();
    let mut add = |condition: &str, value: Sql| {
        conditions.push(condition.to_owned());
        values.push(value);
    };
    let texts = [
        ("app = ?", &query.app),
        ("version = ?", &query.version),
        ("invocation = ?", &query.invocation),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            add(condition, Sql::Text(value.clone()));
        }
    }
    let numbers = [
        (
            "level >= ?",
            query.level.map(|level| u64::from(level.number())),
        ),
        ("time_ms >= ?", query.since_ms),
        ("time_ms < ?", query.until_ms),
        ("id > ?", query.after),
    ];
    for (condition, value) in numbers {
        if let Some(value) = value {
            add(condition, Sql::Integer(signed(value)));
        }
    }
    if let Some(text) = &query.text {
        add("text LIKE ? ESCAPE '\\'", Sql::Text(like(text, true)));
    }
    if let Some(instance) = &query.instance {
        let begin = like(instance, false);
        add("(instance LIKE ? ESCAPE '\\'", Sql::Text(begin.clone()));
        // One condition in two pieces, so that each has its value.
        if let Some(last) = conditions.pop() {
            conditions.push(format!("{last} OR label LIKE ? ESCAPE '\\')"));
        }
        values.push(Sql::Text(begin));
    }
    if !query.sources.is_empty() {
        let numbers = query
            .sources
            .iter()
            .map(|source| source.number().to_string());
        let numbers = numbers.collect::<Vec<_>>().join(", ");
        conditions.push(format!("source IN ({numbers})"));
    }
    (conditions.join(" AND "), values)
}

/// A pattern for what begins with a text or has it in it.
fn like(text: &str, anywhere: bool) -> String {
    let mut pattern = String::new();
    if anywhere {
        pattern.push('%');
    }
    for char in text.chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

fn entry(row: &Row<'_>) -> Result<Entry, rusqlite::Error> {
    let data: Option<String> = row.get(10)?;
    Ok(Entry {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        time_ms: row.get::<_, i64>(1)?.unsigned_abs(),
        app: row.get(2)?,
        version: row.get(3)?,
        source: Source::numbered(row.get(4)?),
        instance: row.get(5)?,
        label: row.get(6)?,
        level: Level::numbered(row.get(7)?),
        invocation: row.get(8)?,
        text: row.get(9)?,
        data: data.and_then(|data| serde_json::from_str(&data).ok()),
    })
}

/// SQLite counts in signed numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What apps say is its owner's alone from the beginning; SQLite gives its other files the same mode.
fn private(directory: &Path, path: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let mut options = std::fs::OpenOptions::new();
    let made = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop)
}
