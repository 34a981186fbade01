//! What becomes of objects in time. Each step is one transaction over objects that are due in it: one that was
//! replaced meanwhile is not.

use rusqlite::params;

use super::buckets::find;
use super::{Index, disown, kept};
use crate::R2Error;
use crate::object::StorageClass;

impl Index {
    /// Deletes objects whose keys begin with `prefix` and that were written until `until`, at most so many; how
    /// many, and the blobs that nobody needs.
    pub(crate) fn expire_objects(
        &self,
        bucket: &str,
        prefix: &str,
        until: u64,
        most: u32,
    ) -> Result<(usize, Vec<String>), R2Error> {
        let prefix = prefix.as_bytes();
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            let due: Vec<(Vec<u8>, String)> = transaction
                .prepare_cached(
                    "SELECT key, version FROM objects WHERE bucket = ?1 AND key >= ?2 \
                     AND substr(key, 1, length(?2)) = ?2 AND uploaded <= ?3 LIMIT ?4",
                )?
                .query_map(params![bucket, prefix, kept(until), most], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect::<Result<_, _>>()?;
            let mut free = Vec::new();
            for (key, version) in &due {
                transaction.execute(
                    "DELETE FROM objects WHERE bucket = ? AND key = ?",
                    params![bucket, key],
                )?;
                free.extend(disown(transaction, version)?);
            }
            Ok((due.len(), free))
        })
    }

    /// Gives objects another class that were written until `until`.
    pub(crate) fn reclass(
        &self,
        bucket: &str,
        prefix: &str,
        until: u64,
        class: StorageClass,
    ) -> Result<(), R2Error> {
        let prefix = prefix.as_bytes();
        self.change(|transaction| {
            let (bucket, _) = find(transaction, bucket)?;
            transaction.execute(
                "UPDATE objects SET class = ?4 WHERE bucket = ?1 AND key >= ?2 \
                 AND substr(key, 1, length(?2)) = ?2 AND uploaded <= ?3 AND class <> ?4",
                params![bucket, prefix, kept(until), class.word()],
            )?;
            Ok(())
        })
    }
}
