//! Git repositories: `https://host/repo.git#ref:directory`, `git@host:repo.git?branch=main`.

use crate::dockerfile::Result;
use crate::error::{Problem, nearest};
use crate::lint::boolean;

/// A repository, or a directory of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// For git, without fragment and query.
    pub(crate) url: String,
    /// Branch, tag, full reference or commit; `None` is what the remote's HEAD names.
    pub(crate) reference: Option<String>,
    /// Below its root; empty is all of it.
    pub(crate) directory: String,
    /// `.git` comes along.
    pub(crate) keep_git_dir: bool,
    /// What the commit must be, or begin with.
    pub(crate) checksum: Option<String>,
    pub(crate) submodules: bool,
}

const QUERIES: [&str; 10] = [
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
];

impl Repository {
    /// `None` for what is no repository.
    pub(super) fn parse(
        source: &str,
        keep_git_dir: Option<bool>,
        checksum: Option<&str>,
    ) -> Result<Option<Self>> {
        let (rest, fragment) = match source.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (source, None),
        };
        let (url, query) = match rest.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (rest, None),
        };
        if !is_repository(url) {
            return Ok(None);
        }
        let (reference, directory) = fragment
            .unwrap_or_default()
            .split_once(':')
            .unwrap_or((fragment.unwrap_or_default(), ""));
        let mut found = Self {
            url: url.to_owned(),
            reference: Some(reference.to_owned()).filter(|reference| !reference.is_empty()),
            directory: directory.to_owned(),
            keep_git_dir: keep_git_dir.unwrap_or(false),
            checksum: checksum.map(str::to_owned),
            submodules: true,
        };
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            found.query(pair, keep_git_dir).map_err(|mut problem| {
                problem.problem = format!("`{source}`: {}", problem.problem);
                problem
            })?;
        }
        found.check(source)?;
        Ok(Some(found))
    }

    fn query(&mut self, pair: &str, keep_git_dir: Option<bool>) -> Result<()> {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, decode(value)),
            None => (pair, String::new()),
        };
        let switch = || match value.as_str() {
            "" => Ok(true),
            text => boolean(text).ok_or_else(|| Problem::new(format!("`{name}` is true or false"))),
        };
        if value.is_empty() && !matches!(name, "keep-git-dir" | "submodules" | "fetch-by-commit") {
            return Err(Problem::new(format!("`{name}` needs a value")));
        }
        match name {
            "ref" => set(&mut self.reference, value, "ref"),
            "tag" => set(&mut self.reference, full(&value, "refs/tags/"), "ref"),
            "branch" => set(&mut self.reference, full(&value, "refs/heads/"), "ref"),
            "subdir" if self.directory.is_empty() || self.directory == value => {
                self.directory = value;
                Ok(())
            }
            "subdir" => Err(Problem::new("it names two directories")),
            "checksum" | "commit" => set(&mut self.checksum, value, "checksum"),
            "keep-git-dir" => {
                self.keep_git_dir = switch()?;
                match keep_git_dir {
                    Some(flag) if flag != self.keep_git_dir => {
                        Err(Problem::new("`--keep-git-dir` says otherwise"))
                    }
                    _ => Ok(()),
                }
            }
            "submodules" => {
                self.submodules = switch()?;
                Ok(())
            }
            // Files always have the commit's time, and commits are always fetched by their hash.
            "mtime" if matches!(value.as_str(), "checkout" | "commit") => Ok(()),
            "fetch-by-commit" => switch().map(drop),
            _ => {
                let problem = Problem::new(format!("`{name}` is not known"));
                Err(match nearest(name, &QUERIES) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("there are {}", QUERIES.join(", "))),
                })
            }
        }
    }

    /// What could be taken for an option, or leads out of the repository.
    fn check(&self, source: &str) -> Result<()> {
        let wrong = |what: &str| Err(Problem::new(format!("`{source}`: {what}")));
        if let Some(reference) = &self.reference
            && (reference.starts_with('-')
                || reference.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':'))
        {
            return wrong("the reference is not possible");
        }
        if self.directory.split('/').any(|part| part == "..") {
            return wrong("the directory leads out of the repository");
        }
        let is_hash = |text: &String| {
            (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if self
            .checksum
            .as_ref()
            .is_some_and(|checksum| !is_hash(checksum))
        {
            return wrong("the checksum of a repository is the hash of its commit");
        }
        Ok(())
    }
}

fn is_repository(url: &str) -> bool {
    match super::scheme(url).as_deref() {
        Some("http" | "https") => url.ends_with(".git"),
        Some("git" | "ssh") => true,
        Some(_) => false,
        // user@host:path
        None => {
            let Some((user, rest)) = url.split_once('@') else {
                return false;
            };
            let Some((host, path)) = rest.split_once(':') else {
                return false;
            };
            let allowed = |text: &str, more: &[char]| {
                !text.is_empty()
                    && text
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
            };
            allowed(user, &['-', '_']) && allowed(host, &['-', '.']) && !path.is_empty()
        }
    }
}

fn set(field: &mut Option<String>, value: String, name: &str) -> Result<()> {
    match field {
        Some(other) if *other != value => Err(Problem::new(format!(
            "it names two of `{name}`: `{other}` and `{value}`"
        ))),
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}

fn full(name: &str, prefix: &str) -> String {
    if name.starts_with(prefix) {
        name.to_owned()
    } else {
        format!("{prefix}{name}")
    }
}

fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_and_queries_say_what_is_wanted() {
        let parse = |source: &str| Repository::parse(source, None, None);
        let found = parse("https://example.com/x.git#v1:docs/api")
            .unwrap()
            .unwrap();
        assert_eq!(found.url, "https://example.com/x.git");
        assert_eq!(found.reference.as_deref(), Some("v1"));
        assert_eq!(found.directory, "docs/api");
        let found = "git@example.com:a/b.git?tag=v1&subdir=docs&keep-git-dir&submodules=false&commit=0123abcd";
        let found = parse(found).unwrap().unwrap();
        assert_eq!(found.url, "git@example.com:a/b.git");
        assert_eq!(found.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!(found.checksum.as_deref(), Some("0123abcd"));
        assert!(found.keep_git_dir && !found.submodules);
        for bad in [
            "https://example.com/x.git#--upload-pack=evil",
            "https://example.com/x.git#:../etc",
            "https://example.com/x.git?colour=red",
            "https://example.com/x.git?ref",
            "https://example.com/x.git?branch=a&tag=b",
            "https://example.com/x.git?checksum=xyz",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            Repository::parse("https://h/x.git?keep-git-dir=0", Some(true), None).is_err(),
            "contradiction"
        );
    }
}
