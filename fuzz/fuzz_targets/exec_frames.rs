//! Docker's frames: what arrives in whatever pieces decodes the same, and what we encode decodes to
//! itself.
#![no_main]

use berth_docker::frame::{Frame, StreamKind};
use berth_docker::fuzzing::{frame_decoder, frames};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder as _;

/// All frames of a stream that arrives in pieces, and whether it ended well.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, bool) {
    let mut decoder = frame_decoder();
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    loop {
        match decoder.decode_eof(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, true),
            Err(_) => return (frames, false),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let whole = decode(std::iter::once(bytes));
    let pieces = decode(bytes.chunks(usize::from(cut) + 1));
    assert_eq!(whole, pieces);

    let middle = bytes.len() * usize::from(cut) / 256;
    let (out, err) = bytes.split_at(middle);
    let encoded = frames(&[(StreamKind::Stdout, out), (StreamKind::Stderr, err)]);
    let (decoded, complete) = decode(std::iter::once(&encoded[..]));
    assert!(complete);
    let of = |stream| -> Vec<u8> {
        let frames = decoded.iter().filter(|frame| frame.stream == stream);
        frames.flat_map(|frame| frame.payload.to_vec()).collect()
    };
    assert_eq!((of(StreamKind::Stdout), of(StreamKind::Stderr)), (out.to_vec(), err.to_vec()));
});
