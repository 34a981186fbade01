//! Doors for the fuzz targets, which exist only when they are built (`cargo xtask fuzz`).

use std::io::{self, BufReader, Read};

use crate::stream::{decompress, sniff};
use crate::tar_read::TarReader;

/// Most bytes of an archive, decompressed, that are looked at: a small one may hold terabytes.
const MOST: u64 = 1 << 24;

/// Reads an archive (plain, gzip or zstd) to its end, data included.
///
/// # Errors
///
/// When it is none.
///
/// # Panics
///
/// When an entry's runs of data overlap, leave its size, or are not as long as its data.
pub fn read_archive(bytes: &[u8]) -> io::Result<()> {
    let mut reader = BufReader::new(bytes);
    let compression = sniff(&mut reader)?;
    let stream = decompress(compression, reader)?.take(MOST);
    let mut tar = TarReader::new(stream);
    while let Some(entry) = tar.next_entry()? {
        let mut stored = 0u64;
        if let Some(runs) = &entry.runs {
            let mut end = 0;
            for run in runs {
                assert!(run.offset >= end, "runs overlap: {runs:?}");
                end = run.offset.checked_add(run.len).expect("a run has an end");
                stored += run.len;
            }
            assert!(end <= entry.size, "{end} > {}", entry.size);
        }
        let read = io::copy(&mut tar, &mut io::sink())?;
        assert!(entry.runs.is_none() || read == stored, "{read} != {stored}");
    }
    tar.drain()
}
