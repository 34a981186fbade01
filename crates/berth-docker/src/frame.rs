//! Docker's multiplexed stream: frames of standard output and standard error in one connection.
//!
//! A frame is an 8-byte header (byte 0: stream, bytes 1–3 zero, bytes 4–7: length, big-endian)
//! followed by the payload. Used by exec without a terminal and by logs.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;

/// Most payload bytes we put in one frame; workerd buffers whole frames.
pub const MAX_PAYLOAD: usize = 32 << 10;

/// Most payload bytes we accept in one frame.
const MAX_ACCEPTED: usize = 16 << 20;

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it was written.
    pub stream: StreamKind,
    /// What was written.
    pub payload: Bytes,
}

/// The header of a frame.
pub(crate) fn header(stream: StreamKind, len: usize) -> [u8; HEADER_LEN] {
    let kind = match stream {
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// Appends payload as frames of at most [`MAX_PAYLOAD`] bytes.
pub(crate) fn encode(stream: StreamKind, payload: &[u8], into: &mut BytesMut) {
    for chunk in payload.chunks(MAX_PAYLOAD) {
        into.extend_from_slice(&header(stream, chunk.len()));
        into.extend_from_slice(chunk);
    }
}

/// Decodes frames; a stream that ends inside a frame is an error.
#[derive(Debug, Default)]
pub struct FrameDecoder {}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(&[kind, _, _, _, a, b, c, d]) = source.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let stream = match kind {
            0 | 1 => StreamKind::Stdout,
            2 => StreamKind::Stderr,
            other => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("unknown stream {other} in a frame"),
                ));
            }
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_ACCEPTED {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {len} bytes"),
            ));
        }
        if source.len() < HEADER_LEN + len {
            source.reserve(HEADER_LEN + len - source.len());
            return Ok(None);
        }
        source.advance(HEADER_LEN);
        let payload = source.split_to(len).freeze();
        Ok(Some(Frame { stream, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = BytesMut::new();
        encode(StreamKind::Stdout, b"hello", &mut wire);
        encode(StreamKind::Stderr, b"world!", &mut wire);
        assert_eq!(&wire[..8], [1, 0, 0, 0, 0, 0, 0, 5]);
        let wire = wire.freeze();
        for cut in 0..wire.len() {
            let mut decoder = FrameDecoder::default();
            let mut buffer = BytesMut::from(&wire[..cut]);
            let mut frames = Vec::new();
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
            buffer.extend_from_slice(&wire[cut..]);
            while let Some(frame) = decoder.decode_eof(&mut buffer).unwrap() {
                frames.push(frame);
            }
            let expected = [
                (StreamKind::Stdout, "hello"),
                (StreamKind::Stderr, "world!"),
            ];
            let found: Vec<_> = frames
                .iter()
                .map(|f| (f.stream, std::str::from_utf8(&f.payload).unwrap()))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn large_payloads_become_several_frames() {
        let mut wire = BytesMut::new();
        encode(StreamKind::Stdout, &vec![7; MAX_PAYLOAD + 1], &mut wire);
        assert_eq!(wire.len(), MAX_PAYLOAD + 1 + 2 * HEADER_LEN);
    }

    #[test]
    fn damaged_streams_are_errors() {
        let mut decoder = FrameDecoder::default();
        assert!(decoder.decode(&mut BytesMut::from(&[9; 8][..])).is_err());
        assert!(
            decoder
                .decode(&mut BytesMut::from(&[1, 0, 0, 0, 255, 0, 0, 0][..]))
                .is_err()
        );
        assert!(
            decoder
                .decode_eof(&mut BytesMut::from(&[1, 0, 0, 0, 0, 0, 0, 2, 65][..]))
                .is_err()
        );
    }
}
