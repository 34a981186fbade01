//! `.dockerignore`: the last pattern that matches a path, or a directory above it, decides.

use crate::dockerfile::Result;
use crate::error::Problem;
use crate::glob::Glob;

/// The patterns, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    glob: Glob,
    /// `!`: what matches is not excluded after all.
    keep: bool,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            patterns.extend(pattern(line).map_err(|problem| problem.at(number + 1, line))?);
        }
        Ok(Self { patterns })
    }

    /// The patterns of `--exclude`.
    pub(crate) fn from_patterns(lines: &[String]) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in lines {
            patterns.extend(pattern(line)?);
        }
        Ok(Self { patterns })
    }

    /// Whether a path (relative, with `/`) is excluded.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for pattern in &self.patterns {
            if pattern.keep == excluded && matches_with_parents(&pattern.glob, path) {
                excluded = !pattern.keep;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may be kept, so that it must be walked.
    pub(crate) fn may_keep_below(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keep)
    }
}

fn pattern(line: &str) -> Result<Option<Pattern>> {
    let line = line.trim();
    let (keep, line) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let parts: Vec<&str> = line
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.is_empty() {
        return if keep {
            Err(Problem::new("`!` alone keeps nothing"))
        } else {
            Ok(None)
        };
    }
    let glob = Glob::path(&parts.join("/"))
        .ok_or_else(|| Problem::new("the pattern is malformed").hint("a `[` needs its `]`"))?;
    Ok(Some(Pattern { glob, keep }))
}

fn matches_with_parents(glob: &Glob, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at);
    glob.matches(path) || ends.into_iter().any(|end| glob.matches(&path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_pattern_decides() {
        let ignore = Ignore::parse(
            "# comment\n\
             node_modules\n\
             /dist/\n\
             **/*.log\n\
             *.md\n\
             !README.md\n\
             secret*\n\
             !src/secret.rs\n\
             ./tmp/*\n\
             a/**/z\n",
        )
        .unwrap();
        for (path, excluded) in [
            ("node_modules", true),
            ("node_modules/left-pad/index.js", true),
            ("packages/a/node_modules", false),
            ("dist/out.js", true),
            ("src/dist/out.js", false),
            ("x.log", true),
            ("a/b/x.log", true),
            ("NOTES.md", true),
            ("README.md", false),
            ("docs/NOTES.md", false),
            ("secrets.txt", true),
            ("src/secret.rs", false),
            ("tmp", false),
            ("tmp/x", true),
            ("tmp/x/y", true),
            ("a/z", true),
            ("a/b/c/z/file", true),
            (".dockerignore", false),
        ] {
            assert_eq!(ignore.excludes(path), excluded, "{path}");
        }
    }

    #[test]
    fn everything_but_can_be_said() {
        let ignore = Ignore::parse("*\n!src\nsrc/*.tmp\n").unwrap();
        assert!(ignore.excludes("Dockerfile"));
        assert!(!ignore.excludes("src/main.rs"));
        assert!(ignore.excludes("src/x.tmp"));
        assert!(ignore.may_keep_below());
    }

    #[test]
    fn malformed_patterns_are_errors_with_their_line() {
        let problem = Ignore::parse("ok\n[a\n").unwrap_err();
        assert_eq!((problem.line, problem.text.as_str()), (2, "[a"));
        assert!(Ignore::parse("!").is_err());
    }
}
