//! Sparse files: the old GNU header with its extension blocks, and the three PAX encodings.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::pax::Pax;
use super::{BLOCK, Run, TarReader, bad};

/// Most runs of one file.
const MAX_RUNS: usize = 1 << 20;

impl<R: Read> TarReader<R> {
    /// The file's real size and where its data goes.
    pub(super) fn sparse_runs(
        &mut self,
        header: &Header,
        pax: &Pax,
        stored: u64,
    ) -> io::Result<(u64, Option<Vec<Run>>)> {
        let (map, real_size) = if header.entry_type().is_gnu_sparse() {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| bad("a sparse entry has no GNU header"))?;
            (self.old_gnu_map(header)?, gnu.real_size()?)
        } else if pax.sparse.major == Some(1) {
            let real_size = pax
                .sparse
                .real_size
                .ok_or_else(|| bad("a sparse file's size is missing"))?;
            (self.data_map()?, real_size)
        } else if let Some(real_size) = pax.sparse.real_size {
            (pairs(&pax.sparse.map)?, real_size)
        } else {
            return Ok((stored, None));
        };
        check(&map, real_size, self.remaining)?;
        Ok((real_size, Some(map)))
    }

    fn old_gnu_map(&mut self, header: &Header) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let Some(gnu) = header.as_gnu() else {
            return Ok(runs);
        };
        let mut push = |block: &tar::GnuSparseHeader| -> io::Result<()> {
            if !block.is_empty() {
                runs.push(Run {
                    offset: block.offset()?,
                    len: block.length()?,
                });
            }
            if runs.len() > MAX_RUNS {
                return Err(bad("a sparse file has too many parts"));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut push)?;
        let mut extended = gnu.is_extended();
        while extended {
            // Extension blocks come before the data and are not part of its size.
            let mut block = GnuExtSparseHeader::new();
            self.inner.read_exact(block.as_mut_bytes())?;
            block.sparse.iter().try_for_each(&mut push)?;
            extended = block.is_extended();
        }
        Ok(runs)
    }

    /// Version 1.0: decimal numbers, one a line, at the start of the data, padded to a block.
    fn data_map(&mut self) -> io::Result<Vec<Run>> {
        let mut used = 0;
        let count = self.line(&mut used)?;
        if count > MAX_RUNS as u64 {
            return Err(bad("a sparse file has too many parts"));
        }
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push(Run {
                offset: self.line(&mut used)?,
                len: self.line(&mut used)?,
            });
        }
        let padding = used.next_multiple_of(BLOCK) - used;
        let skipped = io::copy(&mut Read::by_ref(self).take(padding), &mut io::sink())?;
        if skipped < padding {
            return Err(bad("a sparse file's map is cut off"));
        }
        Ok(runs)
    }

    fn line(&mut self, used: &mut u64) -> io::Result<u64> {
        let mut value: u64 = 0;
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            *used += 1;
            match byte[0] {
                b'\n' => return Ok(value),
                digit @ b'0'..=b'9' => {
                    value = value
                        .checked_mul(10)
                        .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                        .ok_or_else(|| bad("a sparse file's map is out of range"))?;
                }
                _ => return Err(bad("a sparse file's map is malformed")),
            }
        }
    }
}

fn pairs(numbers: &[u64]) -> io::Result<Vec<Run>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(bad("a sparse file's map is malformed"));
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| Run {
            offset: pair[0],
            len: pair[1],
        })
        .collect())
}

/// Runs must be in order, inside the file, and as long together as the stored data.
fn check(runs: &[Run], real_size: u64, stored: u64) -> io::Result<()> {
    let mut end = 0;
    let mut total: u64 = 0;
    for run in runs {
        if run.offset < end {
            return Err(bad("a sparse file's parts overlap"));
        }
        end = run
            .offset
            .checked_add(run.len)
            .filter(|end| *end <= real_size)
            .ok_or_else(|| bad("a sparse file's part lies outside the file"))?;
        total += run.len;
    }
    if total == stored {
        Ok(())
    } else {
        Err(bad("a sparse file's parts do not add up to its data"))
    }
}
