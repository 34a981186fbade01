//! Cuts a byte stream into lines of bounded length. Pure.

/// Longest piece of a line, in bytes. A longer line becomes several pieces.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// One stream's splitter; holds at most [`MAX_PIECE`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    pending: Vec<u8>,
    /// A piece of the current line has been emitted already.
    continued: bool,
}

impl Splitter {
    /// Takes bytes, emits every line (without its newline) or full piece that is complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let room = MAX_PIECE - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.pending.extend_from_slice(&window[..end]);
                bytes = &bytes[end + 1..];
                if !(self.continued && self.pending.is_empty()) {
                    emit(std::mem::take(&mut self.pending));
                }
                self.continued = false;
            } else {
                self.pending.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.pending.len() == MAX_PIECE {
                    emit(std::mem::take(&mut self.pending));
                    self.continued = true;
                }
            }
        }
    }

    /// The unfinished last line, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        self.continued = false;
        (!self.pending.is_empty()).then(|| std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn lines_lose_their_newline_and_empty_lines_stay() {
        assert_eq!(
            split(&[b"one\n\ntw", b"o\nlast"]),
            [
                b"one".to_vec(),
                b"".to_vec(),
                b"two".to_vec(),
                b"last".to_vec()
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_and_its_newline_adds_no_empty_line() {
        let long = [vec![b'x'; MAX_PIECE], b"\ny\n".to_vec()].concat();
        assert_eq!(split(&[&long]), [vec![b'x'; MAX_PIECE], b"y".to_vec()]);
        let longer = [vec![b'x'; MAX_PIECE + 1], b"\n".to_vec()].concat();
        assert_eq!(split(&[&longer]), [vec![b'x'; MAX_PIECE], b"x".to_vec()]);
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..40),
            2 => Just(b"\n".to_vec()),
            1 => (0usize..40_000).prop_map(|len| vec![b'z'; len]),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn chunks_do_not_matter_and_no_byte_is_lost(
            text in text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let whole = split(&[&text]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&text[from..cut]);
                from = cut;
            }
            chunks.push(&text[from..]);
            prop_assert_eq!(&split(&chunks), &whole);
            prop_assert!(whole.iter().all(|line| line.len() <= MAX_PIECE && !line.contains(&b'\n')));
            let without: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\n').collect();
            prop_assert_eq!(whole.concat(), without);
        }
    }
}
