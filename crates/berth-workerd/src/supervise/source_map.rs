//! Stack traces of the bundle → places in the project's source.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

/// A source map (version 3) of the main module.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceMap {
    /// Name of the module as stack traces have it.
    module: String,
    /// Sources as they are shown.
    sources: Vec<String>,
    /// For each line of the module, its segments by column.
    lines: Vec<Vec<Segment>>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    column: i64,
    source: i64,
    source_line: i64,
    source_column: i64,
}

#[derive(Deserialize)]
struct Raw {
    sources: Vec<String>,
    mappings: String,
}

impl SourceMap {
    /// Reads `<module>.map`. Sources below `root` are shown relative to it. `None` if the file is
    /// not a source map: stack traces then stay as they are.
    pub(super) fn read(path: &Path, root: &Path) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
        let directory = path.parent()?;
        let sources = raw.sources.iter();
        let sources = sources.map(|source| shown(&directory.join(source), root));
        Some(Self {
            module: path.file_stem()?.to_string_lossy().into_owned(),
            sources: sources.collect(),
            lines: decode(&raw.mappings)?,
        })
    }

    /// The text with every `module:line:column` replaced by where that is in the source.
    pub(super) fn rewrite(&self, text: &str) -> String {
        let needle = format!("{}:", self.module);
        let mut rewritten = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&needle) {
            let (before, found) = rest.split_at(at);
            rewritten.push_str(before);
            let whole_name = before
                .chars()
                .next_back()
                .is_none_or(|c| "( \t\n/".contains(c));
            let place = whole_name
                .then(|| self.place(&found[needle.len()..]))
                .flatten();
            match place {
                Some((place, used)) => {
                    rewritten.push_str(&place);
                    rest = &found[needle.len() + used..];
                }
                None => {
                    rewritten.push_str(&needle);
                    rest = &found[needle.len()..];
                }
            }
        }
        rewritten.push_str(rest);
        rewritten
    }

    /// For text that starts with `line:column`: the place in the source, and the length read.
    fn place(&self, text: &str) -> Option<(String, usize)> {
        let (line, line_len) = number(text)?;
        let (column, column_len) = number(text[line_len..].strip_prefix(':')?)?;
        let segments = self.lines.get(usize::try_from(line - 1).ok()?)?;
        let after = segments.partition_point(|segment| segment.column < column);
        let segment = segments.get(after.checked_sub(1)?)?;
        let source = self.sources.get(usize::try_from(segment.source).ok()?)?;
        let (line, column) = (segment.source_line + 1, segment.source_column + 1);
        Some((
            format!("{source}:{line}:{column}"),
            line_len + 1 + column_len,
        ))
    }
}

/// A leading decimal number over 0 and its length.
fn number(text: &str) -> Option<(i64, usize)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..len].parse().ok()?;
    (number > 0).then_some((number, len))
}

/// A path without `..`, relative to `root` if it is below it.
fn shown(path: &Path, root: &Path) -> String {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    let shown = clean.strip_prefix(root).unwrap_or(&clean);
    shown.to_string_lossy().into_owned()
}

/// The segments of `mappings`: lines separated by `;`, segments by `,`, each four (or five, or one)
/// base64 VLQ numbers relative to the ones before.
fn decode(mappings: &str) -> Option<Vec<Vec<Segment>>> {
    let mut lines = Vec::new();
    let (mut source, mut source_line, mut source_column) = (0, 0, 0);
    for line in mappings.split(';') {
        let mut segments = Vec::new();
        let mut column = 0;
        for segment in line.split(',').filter(|segment| !segment.is_empty()) {
            let mut numbers = Numbers(segment.bytes());
            column += numbers.next()??;
            // A segment of one number stands for code without a source.
            let Some(delta) = numbers.next() else {
                continue;
            };
            source += delta?;
            source_line += numbers.next()??;
            source_column += numbers.next()??;
            segments.push(Segment {
                column,
                source,
                source_line,
                source_column,
            });
        }
        lines.push(segments);
    }
    Some(lines)
}

struct Numbers<'a>(std::str::Bytes<'a>);

impl Iterator for Numbers<'_> {
    /// `None` inside: not a VLQ.
    type Item = Option<i64>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut value: i64 = 0;
        for (shift, byte) in self.0.by_ref().enumerate() {
            let Some(digit) = digit(byte).filter(|_| shift < 12) else {
                return Some(None);
            };
            value |= (digit & 31) << (5 * shift);
            if digit & 32 == 0 {
                let magnitude = value >> 1;
                return Some(Some(if value & 1 == 1 {
                    -magnitude
                } else {
                    magnitude
                }));
            }
        }
        None
    }
}

fn digit(byte: u8) -> Option<i64> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(digit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> SourceMap {
        // Line 1 has no source; line 2: column 0 → a.ts:1:1, column 4 → b.ts:3:9.
        let mappings = ";AAAA,ICEQ";
        SourceMap {
            module: "index.js".to_owned(),
            sources: vec!["src/a.ts".to_owned(), "src/b.ts".to_owned()],
            lines: decode(mappings).unwrap(),
        }
    }

    #[test]
    fn places_of_the_module_are_replaced_and_others_kept() {
        let text =
            "Error: x\n    at f (index.js:2:5)\n    at index.js:2:1\n    at g (my-index.js:2:1)";
        assert_eq!(
            map().rewrite(text),
            "Error: x\n    at f (src/b.ts:3:9)\n    at src/a.ts:1:1\n    at g (my-index.js:2:1)"
        );
    }

    #[test]
    fn places_without_a_source_stay() {
        for text in [
            "index.js:1:1",
            "index.js:99:1",
            "index.js:0:1",
            "index.js:",
            "index.js:2",
        ] {
            assert_eq!(map().rewrite(text), text);
        }
    }

    #[test]
    fn numbers_have_signs_and_continue() {
        let numbers: Option<Vec<i64>> = Numbers("ADgBhB".bytes()).collect();
        assert_eq!(numbers.unwrap(), [0, -1, 16, -16]);
        assert_eq!(Numbers("!".bytes()).next(), Some(None));
    }

    #[test]
    fn sources_are_shown_relative_to_the_project() {
        let shown = |path: &str| shown(Path::new(path), Path::new("/p"));
        assert_eq!(shown("/p/.berth/bundle/../../src/a.ts"), "src/a.ts");
        assert_eq!(shown("/q/a.ts"), "/q/a.ts");
    }
}
