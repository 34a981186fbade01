//! Blobs as files: `<root>/<two characters>/<name>`; half-made ones are in `<root>/new`.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::{BlobError, BlobStream, BlobWriter, Blobs};
use crate::Failure;
use crate::crash::crash_point;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
const NEW: &str = "new";

/// A directory of blobs.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Makes the directory if it is not there, for its owner only.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let new = root.join(NEW);
        make(&new).map_err(failed("make", &new))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The names' last characters are random; the first ones are not.
    fn path(&self, name: &str) -> PathBuf {
        let tail = name.get(name.len().saturating_sub(2)..).unwrap_or(name);
        self.root.join(tail).join(name)
    }
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Failure + use<'a> {
    move |source| Failure::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[async_trait::async_trait]
impl Blobs for Directory {
    async fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>, BlobError> {
        let (path, new) = (self.path(name), self.root.join(NEW).join(name));
        let writer = spawn_blocking(move || {
            let mut options = File::options();
            options.write(true).create_new(true).mode(0o600);
            let file = options.open(&new).map_err(failed("create", &new))?;
            Ok::<_, Failure>(Writer {
                unfinished: Some(new),
                path,
                file: Some(file),
            })
        });
        let writer = writer.await??;
        crash_point("r2.blob.created");
        Ok(Box::new(writer))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<BlobStream, BlobError> {
        let path = self.path(name);
        let opened = path.clone();
        let file = spawn_blocking(move || {
            let mut file = File::open(&opened).map_err(failed("open", &opened))?;
            if range.start > 0 {
                let at = SeekFrom::Start(range.start);
                file.seek(at).map_err(failed("read", &opened))?;
            }
            Ok::<_, Failure>((file, range.end - range.start))
        });
        let (file, length) = file.await??;
        let piece = PIECE.min(usize::try_from(length).unwrap_or(PIECE)).max(1);
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(piece);
        let stream = ReaderStream::with_capacity(file.take(length), piece);
        Ok(stream
            .map_err(move |source| failed("read", &path)(source))
            .boxed())
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.path(name);
        spawn_blocking(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        })
        .await?
    }

    async fn sweep(&self) -> Result<Vec<String>, BlobError> {
        let root = self.root.clone();
        spawn_blocking(move || {
            let entries = |path: &Path| -> Result<Vec<PathBuf>, Failure> {
                let entries = std::fs::read_dir(path).map_err(failed("read", path))?;
                let paths = entries.map(|entry| entry.map(|entry| entry.path()));
                paths
                    .collect::<io::Result<_>>()
                    .map_err(failed("read", path))
            };
            let mut names = Vec::new();
            for directory in entries(&root)? {
                let half_made = directory.ends_with(NEW);
                for path in entries(&directory)? {
                    let name = path.file_name().and_then(|name| name.to_str());
                    if half_made {
                        std::fs::remove_file(&path).map_err(failed("remove", &path))?;
                    } else if let Some(name) = name {
                        names.push(name.to_owned());
                    }
                }
            }
            Ok(names)
        })
        .await?
    }
}

struct Writer {
    /// The half-made file; taken when it is not half-made any more.
    unfinished: Option<PathBuf>,
    path: PathBuf,
    /// In a blocking thread while a batch is written.
    file: Option<File>,
}

impl Writer {
    fn new_path(&self) -> PathBuf {
        self.unfinished.clone().unwrap_or_default()
    }
}

#[async_trait::async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), BlobError> {
        let path = self.new_path();
        let lost = || failed("write", &path)(io::Error::other("a write before it failed"));
        let mut file = self.file.take().ok_or_else(lost)?;
        let (file, written) = spawn_blocking(move || {
            let written = batch.iter().try_for_each(|piece| file.write_all(piece));
            (file, written)
        })
        .await?;
        written.map_err(failed("write", &path))?;
        self.file = Some(file);
        crash_point("r2.blob.written");
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        let (new, path, file) = (self.new_path(), self.path.clone(), self.file.take());
        spawn_blocking(move || {
            let lost = || failed("write", &new)(io::Error::other("a write before it failed"));
            let file = file.ok_or_else(lost)?;
            file.sync_all().map_err(failed("write", &new))?;
            crash_point("r2.blob.synced");
            let directory = path.parent().unwrap_or(Path::new("/"));
            let place = || -> io::Result<()> {
                match std::fs::rename(&new, &path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        make(directory)?;
                        std::fs::rename(&new, &path)?;
                        if let Some(root) = directory.parent() {
                            File::open(root)?.sync_all()?;
                        }
                    }
                    other => other?,
                }
                crash_point("r2.blob.renamed");
                File::open(directory)?.sync_all()
            };
            place().map_err(failed("make", &path))
        })
        .await??;
        self.unfinished = None;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(path) = self.unfinished.take() {
            // What stays is swept by the next process.
            let _ = std::fs::remove_file(path);
        }
    }
}
