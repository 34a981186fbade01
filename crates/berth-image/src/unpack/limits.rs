//! How much an archive may unpack to.

/// How much a layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackLimits {
    /// Headers in the archive.
    pub(crate) entries: u64,
    /// Bytes of files, holes included.
    pub(crate) bytes: u64,
}

impl UnpackLimits {
    /// Most bytes of the stream: the files and a few blocks of headers for each entry.
    pub(super) fn stream_bytes(self) -> u64 {
        self.bytes
            .saturating_add(self.entries.saturating_mul(8 * 512))
    }
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 64 << 30,
        }
    }
}
