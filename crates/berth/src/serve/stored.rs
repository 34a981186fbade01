//! Which Durable Objects have something on disk: workerd has a SQLite file for each, named by its id.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use berth_api::Stored;

/// The objects of a directory, those that changed last first. There need not be one.
pub(super) fn objects(directory: &Path) -> io::Result<Vec<Stored>> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut objects = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".sqlite"));
        let Some(id) = id.filter(|id| id.len() == 64 && id.bytes().all(|c| c.is_ascii_hexdigit()))
        else {
            continue;
        };
        // What is written last is in the log beside it.
        let log = directory.join(format!("{id}.sqlite-wal"));
        let times = [entry.path(), log].map(|path| std::fs::metadata(path)?.modified());
        let modified = times.into_iter().flatten().max().unwrap_or(UNIX_EPOCH);
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        objects.push(Stored {
            id: id.to_owned(),
            modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
        });
    }
    objects.sort_by_key(|object| std::cmp::Reverse(object.modified_ms));
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn objects_are_files_by_their_last_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str, seconds: u64| {
            let file = std::fs::File::create(directory.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        };
        let (one, two) = ("1".repeat(64), "a".repeat(64));
        at(&format!("{one}.sqlite"), 10);
        at(&format!("{one}.sqlite-wal"), 30);
        at(&format!("{two}.sqlite"), 20);
        at("metadata.sqlite", 40);
        at("note", 40);
        let found = objects(directory.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.id.as_str(), it.modified_ms))
            .collect();
        assert_eq!(found, [(one.as_str(), 30_000), (two.as_str(), 20_000)]);
        assert!(objects(&directory.path().join("none")).unwrap().is_empty());
    }
}
