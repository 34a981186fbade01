//! Bodies in chunks (`aws-chunked`): the bytes of the chunks, whose signatures and trailing checksum
//! are checked as they pass. What is wrong ends the stream with an error, so that nothing is kept.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use ring::digest;

use super::metadata::checksum_name;
use super::payload::Chunked;
use crate::digest::{Hasher, hex};
use crate::store::{Body, BodyError};

/// Bytes of a line.
const MOST_LINE: usize = 4096;
/// Lines after the last chunk.
const MOST_LINES: usize = 16;

/// The bytes of a body in chunks.
pub(super) fn decode(body: Body, chunked: Chunked) -> Body {
    let decoder = Decoder {
        body: body.fuse(),
        buffer: BytesMut::new(),
        rest: 0,
        hashing: None,
        passed: 0,
        hasher: chunked.sum.map(|algorithm| Hasher::new([algorithm])),
        chunked,
    };
    futures_util::stream::unfold(Some(decoder), |decoder| async move {
        let mut decoder = decoder?;
        match decoder.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(decoder))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Decoder {
    body: Fuse<Body>,
    buffer: BytesMut,
    chunked: Chunked,
    /// Bytes of the present chunk that are still to come.
    rest: usize,
    /// The signature of the present chunk, and its SHA-256 so far.
    hashing: Option<(String, digest::Context)>,
    passed: u64,
    hasher: Option<Hasher>,
}

fn refused(text: impl Into<String>) -> BodyError {
    BodyError::Refused(text.into())
}

impl Decoder {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.rest == 0 && !self.begin().await? {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            self.more().await?;
        }
        let piece = self
            .buffer
            .split_to(self.rest.min(self.buffer.len()))
            .freeze();
        self.rest -= piece.len();
        self.passed += piece.len() as u64;
        if self.passed > self.chunked.size {
            return Err(refused(
                "there are more bytes than x-amz-decoded-content-length says",
            ));
        }
        if let Some((_, context)) = &mut self.hashing {
            context.update(&piece);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.rest == 0 {
            self.end_of_chunk()?;
            if !self.line().await?.is_empty() {
                return Err(refused("a chunk is longer than it says"));
            }
        }
        Ok(Some(piece))
    }

    /// Reads the line before a chunk. Whether there is a chunk.
    async fn begin(&mut self) -> Result<bool, BodyError> {
        let line = self.line().await?;
        let (size, extension) = line.split_once(';').unwrap_or((&line, ""));
        self.rest = usize::from_str_radix(size.trim(), 16)
            .map_err(|_| refused("the size of a chunk is not a hexadecimal number"))?;
        if self.chunked.chain.is_some() {
            let signature = extension.trim().strip_prefix("chunk-signature=");
            let signature = signature.ok_or_else(|| refused("a chunk is not signed"))?;
            let context = digest::Context::new(&digest::SHA256);
            self.hashing = Some((signature.to_owned(), context));
        }
        if self.rest > 0 {
            return Ok(true);
        }
        self.end_of_chunk()?;
        if self.passed != self.chunked.size {
            return Err(BodyError::Incomplete);
        }
        if self.chunked.trailer {
            self.trailer().await?;
        }
        while self.fill().await? {
            // What comes after the end is not looked at.
            self.buffer.clear();
        }
        Ok(false)
    }

    fn end_of_chunk(&mut self) -> Result<(), BodyError> {
        if let (Some((signature, context)), Some(chain)) =
            (self.hashing.take(), &mut self.chunked.chain)
            && !chain.chunk(&hex(context.finish().as_ref()), &signature)
        {
            return Err(refused("the signature of a chunk does not match"));
        }
        Ok(())
    }

    /// What comes after the last chunk: a checksum, and its signature.
    async fn trailer(&mut self) -> Result<(), BodyError> {
        let (mut signed, mut signature, mut sum) = (String::new(), None, None);
        let name = self.chunked.sum.map(checksum_name);
        for _ in 0..MOST_LINES {
            // Some clients end the body without an empty line.
            if self.buffer.is_empty() && !self.fill().await? {
                break;
            }
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (key, value) = line.split_once(':').unwrap_or((&line, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            if key == "x-amz-trailer-signature" {
                signature = Some(value.to_owned());
                continue;
            }
            if Some(key.as_str()) == name {
                sum = BASE64_STANDARD.decode(value).ok();
            }
            signed.push_str(&format!("{key}:{value}\n"));
        }
        if let Some(chain) = &mut self.chunked.chain {
            let signature = signature.ok_or_else(|| refused("the trailer is not signed"))?;
            if !chain.trailer(&signed, &signature) {
                return Err(refused("the signature of the trailer does not match"));
            }
        }
        if let (Some(hasher), Some(algorithm)) = (self.hasher.take(), self.chunked.sum) {
            let found = hasher.finish();
            if found.get(algorithm) != sum.as_deref() {
                let text = format!("the {algorithm} after the bytes is not theirs");
                return Err(refused(text));
            }
        }
        Ok(())
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String, BodyError> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(searched + at);
                self.buffer.advance(1);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                let line = std::str::from_utf8(line);
                return line
                    .map(str::to_owned)
                    .map_err(|_| refused("a line is not text"));
            }
            searched = self.buffer.len();
            if searched > MOST_LINE {
                return Err(refused("a line is too long"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), BodyError> {
        if self.fill().await? {
            Ok(())
        } else {
            Err(BodyError::Incomplete)
        }
    }

    /// Reads on. Whether there was anything.
    async fn fill(&mut self) -> Result<bool, BodyError> {
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if !piece.is_empty() {
                self.buffer.extend_from_slice(&piece);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Algorithm;

    /// Everything that comes out, of what comes in pieces of this size.
    fn run(
        wire: &[u8],
        piece: usize,
        size: u64,
        sum: Option<Algorithm>,
    ) -> Result<Vec<u8>, String> {
        let pieces: Vec<_> = wire
            .chunks(piece)
            .map(|it| Ok(Bytes::copy_from_slice(it)))
            .collect();
        let body = futures_util::stream::iter(pieces).boxed();
        let chunked = Chunked {
            chain: None,
            trailer: sum.is_some(),
            sum,
            size,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let all = runtime.block_on(decode(body, chunked).try_collect::<Vec<_>>());
        all.map(|all| all.concat())
            .map_err(|error| error.to_string())
    }

    fn wire(chunks: &[Vec<u8>], trailer: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for chunk in chunks {
            wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(format!("0\r\n{trailer}\r\n").into_bytes());
        wire
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However the network cuts it, what comes out is what went in, or nothing if it is cut short.
        #[test]
        fn chunks(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), piece in 1..50_usize, cut in 0..1000_usize) {
            let whole = chunks.concat();
            let size = whole.len() as u64;
            let mut hasher = Hasher::new([Algorithm::Crc32]);
            hasher.update(&whole);
            let sum = BASE64_STANDARD.encode(hasher.finish().get(Algorithm::Crc32).unwrap());
            let wire = wire(&chunks, &format!("x-amz-checksum-crc32:{sum}\r\n"));
            prop_assert_eq!(run(&wire, piece, size, Some(Algorithm::Crc32)), Ok(whole));
            let last = sum.len() + 4;
            if cut < wire.len() - last {
                prop_assert!(run(&wire[..cut], piece, size, Some(Algorithm::Crc32)).is_err());
            }
        }
    }

    #[test]
    fn what_is_wrong() {
        let chunks = [b"hello".to_vec()];
        let good = wire(&chunks, "");
        assert_eq!(run(&good, 3, 5, None).unwrap(), b"hello");
        assert!(run(&good, 3, 6, None).is_err());
        assert!(run(&good, 3, 4, None).is_err());
        assert!(run(b"5\r\nhelloX\r\n0\r\n\r\n", 3, 5, None).is_err());
        assert!(run(b"x\r\nhello\r\n0\r\n\r\n", 3, 5, None).is_err());
        assert!(run(&vec![b'5'; 10000], 100, 5, None).is_err());
        let sum = wire(&chunks, "x-amz-checksum-crc32:AAAAAA==\r\n");
        let error = run(&sum, 3, 5, Some(Algorithm::Crc32)).unwrap_err();
        assert!(error.contains("CRC32"), "{error}");
        let error = run(&good, 3, 5, Some(Algorithm::Crc32)).unwrap_err();
        assert!(error.contains("CRC32"), "{error}");
    }
}
