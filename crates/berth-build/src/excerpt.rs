//! The part of a Dockerfile around a line, with that line's instruction marked.

use std::path::Path;

/// Lines shown before and after.
const AROUND: usize = 3;

/// The lines around the instruction that begins on `line` (from 1); `>>>` marks its own.
pub(crate) fn excerpt(path: &Path, text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = line.saturating_sub(1).min(lines.len());
    let last = end(&lines, first);
    let from = first.saturating_sub(AROUND);
    let to = (last + AROUND).min(lines.len());
    let width = to.to_string().len().max(3);
    let name = path.file_name().unwrap_or(path.as_os_str());
    let rule = "-".repeat(20);
    let mut shown = format!("{}:{line}\n{rule}\n", name.to_string_lossy());
    for (at, text) in lines.iter().enumerate().take(to).skip(from) {
        let mark = if (first..last).contains(&at) {
            ">>>"
        } else {
            "   "
        };
        let row = format!(" {:>width$} | {mark} {text}", at + 1);
        shown += row.trim_end();
        shown.push('\n');
    }
    shown + &rule
}

/// The line after an instruction's last one: it goes on as long as lines are continued, and to the
/// ends of its here-documents.
fn end(lines: &[&str], first: usize) -> usize {
    let mut at = first;
    let mut documents: Vec<String> = Vec::new();
    while let Some(line) = lines.get(at) {
        documents.extend(openings(line));
        at += 1;
        if !line.trim_end().ends_with(['\\', '`']) {
            break;
        }
    }
    for name in documents {
        while let Some(line) = lines.get(at) {
            at += 1;
            if line.trim_start_matches('\t') == name {
                break;
            }
        }
    }
    at.max(first + 1).min(lines.len().max(first))
}

/// Names of the here-documents that a line opens.
fn openings(line: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = Vec::new();
    for (at, _) in line.match_indices("<<") {
        let rest = line[at + 2..].trim_start_matches(['-', '"', '\'']);
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_instruction_is_marked() {
        let text = "FROM a\nENV B=c\nRUN one && \\\n    two\nRUN <<EOF\nx\n\ny\nEOF\nCMD d\n";
        let shown = excerpt(Path::new("/p/Dockerfile"), text, 3);
        assert_eq!(
            shown,
            "Dockerfile:3\n\
             --------------------\n   1 |     FROM a\n   2 |     ENV B=c\n   3 | >>> RUN one && \\\n   4 | >>>     two\n   5 |     RUN <<EOF\n   6 |     x\n   7 |\n\
             --------------------"
        );
        let shown = excerpt(Path::new("Dockerfile"), text, 5);
        let marked = shown.lines().filter(|line| line.contains(">>>")).count();
        assert_eq!(marked, 5, "{shown}");
        assert!(excerpt(Path::new("D"), "FROM a", 9).contains("D:9"));
    }
}
