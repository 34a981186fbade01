//! Sources of `ADD` that are somewhere else: URLs and git repositories.
//!
//! What counts as which is as in BuildKit: `https://…/x.git`, `git://…`, `ssh://…` and `user@host:path`
//! are repositories, other HTTP URLs are files.

mod clone;
mod fetch;
mod git;
mod http;

use berth_error::Hint;
use berth_image::Digest;

pub(crate) use fetch::{Fetcher, Files, Resolved};
pub(crate) use git::Repository;

use crate::dockerfile::Result;
use crate::error::Problem;

/// A source that is downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Http(Download),
    Git(Repository),
}

/// A file behind an HTTP URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    pub(crate) url: String,
    /// What it is called in a directory: the last part of the path.
    pub(crate) name: String,
    pub(crate) checksum: Option<Digest>,
}

/// Why a remote source could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server could not be asked.
    #[error("`{url}` could not be downloaded")]
    Http {
        /// Without a password.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// It was asked, and refused.
    #[error("`{url}` could not be downloaded: the server answered with status {status}")]
    Status {
        /// Without a password.
        url: String,
        /// Of HTTP.
        status: u16,
    },
    /// What came is something else.
    #[error("`{url}` is {found}, not {expected}")]
    Checksum {
        /// Without a password.
        url: String,
        /// As written after `--checksum`.
        expected: String,
        /// Digest or commit.
        found: String,
    },
    /// There is no git.
    #[error("the `git` program is not on this machine")]
    NoGit,
    /// Git could not do it.
    #[error("`{url}`: {message}")]
    Git {
        /// Without a password.
        url: String,
        /// What git, or ssh, wrote about it.
        message: String,
    },
    /// The repository has no such branch or tag.
    #[error("`{url}` has no branch or tag `{reference}`")]
    Reference {
        /// Without a password.
        url: String,
        /// As named.
        reference: String,
    },
    /// The HTTP client could not be made.
    #[error("downloads are not possible")]
    Client(#[from] reqwest::Error),
    /// Of the file system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Hint for RemoteError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Http { source, .. } if is_about_trust(source) => BUNDLE,
            Self::NoGit => "install it, for example with `apt-get install git`",
            Self::Checksum { .. } => "if the new content is what you want, change `--checksum`",
            Self::Git { message, .. } if message.contains("Host key verification") => {
                "connect once with ssh, so that the server's key is known"
            }
            Self::Git { message, .. } if message.contains("certificate verif") => BUNDLE,
            Self::Git { url, .. } if !url.starts_with("http") => {
                "keys come from an agent (`--ssh default`, or SSH_AUTH_SOCK) or a file: `--ssh default=KEY`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do where nobody known has signed a certificate.
const BUNDLE: &str = "name the bundle with the server's authority: `SSL_CERT_FILE=bundle.pem`";

/// Whether one of the causes is a certificate.
fn is_about_trust(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string().contains("certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Name of a download whose URL has none.
const UNNAMED: &str = "__unnamed__";

impl Remote {
    /// `None` for what is a path.
    pub(crate) fn parse(
        source: &str,
        keep_git_dir: Option<bool>,
        checksum: Option<&str>,
    ) -> Result<Option<Self>> {
        if let Some(repository) = Repository::parse(source, keep_git_dir, checksum)? {
            return Ok(Some(Self::Git(repository)));
        }
        let Some(scheme) = scheme(source) else {
            return Ok(None);
        };
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(
                Problem::new(format!("`{source}`: nothing is downloaded by `{scheme}`"))
                    .hint("http, https and git are known; or download it in a RUN step"),
            );
        }
        let checksum = checksum
            .map(|text| {
                text.parse::<Digest>().map_err(|_| {
                    Problem::new(format!("`--checksum={text}` is no SHA-256"))
                        .hint("`sha256:` and 64 hex digits, as `sha256sum` prints them")
                })
            })
            .transpose()?;
        Ok(Some(Self::Http(Download {
            url: source.to_owned(),
            name: file_name(source),
            checksum,
        })))
    }
}

/// The part before `://`, in lower case.
fn scheme(source: &str) -> Option<String> {
    let (scheme, _) = source.split_once("://")?;
    let known = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    known.then(|| scheme.to_ascii_lowercase())
}

/// The last part of a URL's path, decoded; it must not lead anywhere.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) => name.replace('\0', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_what_their_url_says() {
        for (url, expected) in [
            ("https://example.com/a/b.tar.gz", "b.tar.gz"),
            ("https://example.com/a/b?x=/y#z", "b"),
            ("https://example.com/a%20b", "a b"),
            ("https://example.com/a/", "a"),
            ("https://example.com", UNNAMED),
            ("https://example.com/", UNNAMED),
            ("https://example.com/a/..", UNNAMED),
            ("https://example.com/%2e%2e", UNNAMED),
            ("https://example.com/a%2fb", "b"),
        ] {
            assert_eq!(file_name(url), expected, "{url}");
        }
    }

    #[test]
    fn sources_are_paths_downloads_or_repositories() {
        for (source, expected) in [
            ("src", "path"),
            ("./x@y:z", "path"),
            ("github.com/a/b", "path"),
            ("https://example.com/x", "file"),
            ("https://example.com/x.git", "git"),
            ("https://example.com/x.git#main:dir", "git"),
            ("https://example.com/x.git?ref=main", "git"),
            ("http://example.com/x.gitignore", "file"),
            ("git://example.com/x", "git"),
            ("ssh://git@example.com/x", "git"),
            ("git@example.com:x/y.git#v1", "git"),
        ] {
            let kind = match Remote::parse(source, None, None).unwrap() {
                None => "path",
                Some(Remote::Http(_)) => "file",
                Some(Remote::Git(_)) => "git",
            };
            assert_eq!(kind, expected, "{source}");
        }
        assert!(Remote::parse("ftp://example.com/x", None, None).is_err());
        assert!(Remote::parse("https://example.com/x", None, Some("md5:0")).is_err());
    }
}
