//! A database as it is at one instant, in a file of its own.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// How long a writer may hold it up.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Writes a database, which others may use meanwhile, to a file that is not there yet. What was committed
/// before the call is in it, and nothing half. Blocks.
///
/// # Errors
/// It is no database, or cannot be read or written.
pub fn snapshot(database: &Path, to: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute("VACUUM INTO ?", [to.to_string_lossy()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn a_snapshot_is_whole_while_somebody_writes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a.db"), directory.path().join("b.db"));
        let store = Store::open(&from).unwrap();
        store.create("kind", "one", &1).unwrap();
        snapshot(&from, &to).unwrap();
        store.create("kind", "two", &2).unwrap();
        let copy = Store::open(&to).unwrap();
        assert_eq!(copy.list::<i32>("kind").unwrap().len(), 1);
        assert!(snapshot(&from, &to).is_err(), "it is there already");
        assert!(snapshot(&directory.path().join("none"), &to).is_err());
    }
}
