//! Readers and writers that bytes pass through on their way into the store: hashing, copying to a
//! blob, recognising compression.

use std::io::{self, BufRead, BufReader, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// How a layer's blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// The OCI media type of a layer compressed like this.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            // Layers are never compressed in the last two ways.
            Self::None | Self::Bzip2 | Self::Xz => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Recognises the compression by the first bytes, which stay in the reader.
pub(crate) fn sniff<R: Read>(reader: &mut BufReader<R>) -> io::Result<Compression> {
    compression_of(reader.fill_buf()?)
}

/// The compression of a stream that begins with these bytes.
pub(crate) fn compression_of(head: &[u8]) -> io::Result<Compression> {
    match head {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // A frame, or a skippable frame in front of one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(unsupported("xz")),
        _ => Ok(Compression::None),
    }
}

/// [`sniff`] of an archive that is no layer, which may be compressed in more ways.
pub(crate) fn sniff_any<R: Read>(reader: &mut BufReader<R>) -> io::Result<Compression> {
    match reader.fill_buf()? {
        [b'B', b'Z', b'h', ..] => Ok(Compression::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Ok(Compression::Xz),
        head => compression_of(head),
    }
}

fn unsupported(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{name} compression is not supported; recompress with gzip or zstd"),
    )
}

/// Undoes the compression.
pub(crate) fn decompress<'a, R: BufRead + Send + 'a>(
    compression: Compression,
    reader: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}

/// zstd's fastest regular level. On a 179 MB `node_modules`, zstd -1 took 0.8 s of CPU for 54 MB and
/// gzip -1 3.1 s for 58 MB.
const ZSTD_LEVEL: i32 = 1;
/// Of 200 MB of shared libraries, gzip -1 makes 90 MB, -4 71 MB and -6 70 MB, in 0.4, 0.8 and 1.0 of
/// the time of -6.
const GZIP_LEVEL: u32 = 4;

/// Compresses what is written, always to the same bytes.
pub(crate) enum Encoder<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// # Errors
    /// Nothing is compressed with bzip2 and xz.
    pub(crate) fn new(compression: Compression, writer: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(writer),
            Compression::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(flate2::write::GzEncoder::new(writer, level))
            }
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(writer, ZSTD_LEVEL)?),
            Compression::Bzip2 => return Err(unsupported("bzip2")),
            Compression::Xz => return Err(unsupported("xz")),
        })
    }

    /// Writes the end; what it was written to.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(writer) => writer.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Hashes and counts what is written.
pub(crate) struct HashWriter<W> {
    writer: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> HashWriter<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self {
            writer,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// Digest and number of the bytes written, and the writer.
    pub(crate) fn finish(self) -> (Digest, u64, W) {
        (Digest::from_hasher(self.hasher), self.count, self.writer)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
