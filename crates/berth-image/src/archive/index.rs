//! The files of a tar archive where they are: nothing is unpacked, and layers are read side by side.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::tar_read::{Kind, TarReader};
use crate::unpack::UnpackLimits;

/// Most links from one name to the next.
const MAX_LINKS: usize = 8;

/// What a name stands for.
#[derive(Clone, Debug)]
enum Member {
    File {
        offset: u64,
        len: u64,
    },
    /// Another name, as a whole.
    Link(Vec<u8>),
}

/// A tar, not compressed, whose entries have been listed.
#[derive(Debug)]
pub(super) struct TarIndex {
    file: Arc<File>,
    members: HashMap<Vec<u8>, Member>,
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl TarIndex {
    /// Lists what is in a tar. `None`: it holds something (a sparse file) that is not read in place.
    pub(super) fn read(file: File, limits: UnpackLimits) -> io::Result<Option<Self>> {
        let end = file.metadata()?.len();
        let file = Arc::new(file);
        let whole = Section {
            file: Arc::clone(&file),
            offset: 0,
            left: end,
        };
        let mut members = HashMap::new();
        let mut reader = TarReader::new(whole);
        while let Some(entry) = reader.next_entry()? {
            if reader.headers() > limits.entries {
                return Err(invalid("it has too many entries"));
            }
            let Some(name) = normal(&entry.path) else {
                continue;
            };
            let member = match entry.kind {
                Kind::File if entry.runs.is_some() => return Ok(None),
                Kind::File => {
                    let offset = reader.source().offset;
                    if end - offset < entry.size {
                        return Err(invalid("it ends inside an entry"));
                    }
                    Some(Member::File {
                        offset,
                        len: entry.size,
                    })
                }
                Kind::Symlink => {
                    let parent = name.iter().rposition(|byte| *byte == b'/');
                    let parent = parent.map_or(&b""[..], |end| &name[..end]);
                    let target = if entry.link.starts_with(b"/") {
                        normal(&entry.link)
                    } else {
                        normal(&[parent, b"/", &entry.link].concat())
                    };
                    target.map(Member::Link)
                }
                Kind::HardLink => normal(&entry.link).map(Member::Link),
                _ => None,
            };
            // As when unpacking, what comes later replaces what came before.
            match member {
                Some(member) => drop(members.insert(name, member)),
                None => drop(members.remove(&name)),
            }
            reader.skip_data(Section::skip)?;
        }
        Ok(Some(Self { file, members }))
    }

    /// Opens a regular file of the archive.
    pub(super) fn open(&self, name: &str) -> Option<Section> {
        let mut name = normal(name.as_bytes())?;
        for _ in 0..=MAX_LINKS {
            match self.members.get(&name)? {
                Member::File { offset, len } => {
                    return Some(Section {
                        file: Arc::clone(&self.file),
                        offset: *offset,
                        left: *len,
                    });
                }
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

impl Section {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.left {
            return Err(invalid("it ends inside an entry"));
        }
        self.offset += bytes;
        self.left -= bytes;
        Ok(())
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A name without empty, `.` and `..` parts; `None` for the root.
fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
