//! A file of JSON lines; when it is full it becomes `<path>.1`, that one `<path>.2` and so on.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ExportError, Target, lines};
use crate::Entry;

/// Which file.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Its path. Directories on the way are made.
    pub path: PathBuf,
    /// Bytes from which on a new one is begun.
    pub max_bytes: u64,
    /// How many former ones are kept.
    pub keep: u32,
}

pub(super) struct File(FileOptions);

impl File {
    pub(super) fn open(options: FileOptions) -> Result<Self, ExportError> {
        append(&options, &Bytes::new()).map_err(|error| ExportError {
            target: format!("`{}`", options.path.display()),
            problem: error.to_string(),
        })?;
        Ok(Self(options))
    }
}

#[async_trait]
impl Target for File {
    fn gather(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn send(&self, entries: &[Entry]) -> Result<(), String> {
        let (options, text) = (self.0.clone(), lines(entries)?);
        let written = tokio::task::spawn_blocking(move || append(&options, &text)).await;
        match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Opened for each batch: whoever moves it away starts a new one.
fn append(options: &FileOptions, text: &Bytes) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(directory) = options.path.parent() {
        fs_err::create_dir_all(directory)?;
    }
    let size = std::fs::metadata(&options.path).map_or(0, |found| found.len());
    if size > 0 && size + text.len() as u64 > options.max_bytes {
        rotate(options)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&options.path)?;
    file.write_all(text)
}

fn rotate(options: &FileOptions) -> std::io::Result<()> {
    let numbered = |number: u32| {
        let mut path = options.path.as_os_str().to_owned();
        path.push(format!(".{number}"));
        PathBuf::from(path)
    };
    for number in (1..options.keep).rev() {
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if options.keep == 0 {
        return fs_err::remove_file(&options.path);
    }
    fs_err::rename(&options.path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/logs.jsonl");
        let options = FileOptions {
            path: path.clone(),
            max_bytes: 10,
            keep: 2,
        };
        for text in ["first\n", "second\n", "third\n", "4\n", "fifth\n"] {
            append(&options, &Bytes::from(text)).unwrap();
        }
        let read = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display()));
        assert_eq!(read("").unwrap(), "fifth\n");
        assert_eq!(read(".1").unwrap(), "third\n4\n");
        assert_eq!(read(".2").unwrap(), "second\n");
        assert!(read(".3").is_err());
    }
}
