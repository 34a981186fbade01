//! Image references as people write them, and their one normal form.
//!
//! `node:22-slim` means `docker.io/library/node:22-slim`; no tag means `latest`. The rules are those
//! of the distribution project's reference grammar: the first component is a host if it has a `.` or
//! a `:`, is `localhost`, or has an upper-case letter; IPv6 addresses are in brackets.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, ImageError};

const DEFAULT_HOST: &str = "docker.io";
const OFFICIAL: &str = "library";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: String,
    digest: Option<Digest>,
}

impl Reference {
    /// Whether names have this for a host, and not for the first part of a repository: it has a `.` or a `:`, is
    /// `localhost`, or has an upper-case letter.
    pub fn is_host(text: &str) -> bool {
        is_host(text) && check_host(text).is_ok()
    }

    /// Registry host, with its port if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Repository on that host: `library/node`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if none was written.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The digest after `@`; it decides, whatever the tag says.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `host/repository:tag`, the key of the name index.
    pub fn canonical(&self) -> String {
        format!("{}/{}:{}", self.host, self.repository, self.tag)
    }

    /// The key in the name index: [`canonical`](Self::canonical), or `host/repository@digest`.
    pub(crate) fn key(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}/{}@{digest}", self.host, self.repository),
            None => self.canonical(),
        }
    }

    /// As lists of images show it: [`familiar`](Self::familiar), or by its digest without a tag.
    pub fn listed(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.familiar_repository()),
            None => self.familiar(),
        }
    }

    /// As Docker shows it: without the default host and `library/`, always with the tag.
    pub fn familiar(&self) -> String {
        format!("{}:{}", self.familiar_repository(), self.tag)
    }

    fn familiar_repository(&self) -> String {
        if self.host == DEFAULT_HOST {
            self.repository
                .strip_prefix("library/")
                .filter(|name| !name.contains('/'))
                .unwrap_or(&self.repository)
                .to_owned()
        } else {
            format!("{}/{}", self.host, self.repository)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|reason| ImageError::InvalidReference {
            reference: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "what follows `@` is not a sha256 digest")?;
            (name, Some(digest))
        }
        None => (text, None),
    };
    // A colon after the last slash begins the tag; before it, it belongs to the host's port.
    let after_slash = name.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name[after_slash..].rfind(':') {
        Some(colon) => (
            &name[..after_slash + colon],
            &name[after_slash + colon + 1..],
        ),
        None => (name, DEFAULT_TAG),
    };
    check_tag(tag)?;
    let (host, repository) = split_host(path);
    let repository = if host == DEFAULT_HOST && !repository.contains('/') {
        format!("{OFFICIAL}/{repository}")
    } else {
        repository.to_owned()
    };
    if host.len() + repository.len() > MAX_NAME {
        return Err("it is too long");
    }
    check_host(host)?;
    check_repository(&repository)?;
    Ok(Reference {
        host: host.to_owned(),
        repository,
        tag: tag.to_owned(),
        digest,
    })
}

fn split_host(path: &str) -> (&str, &str) {
    match path.split_once('/') {
        Some((first, rest)) if is_host(first) => {
            let host = if first == "index.docker.io" {
                DEFAULT_HOST
            } else {
                first
            };
            (host, rest)
        }
        _ => (DEFAULT_HOST, path),
    }
}

fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Labels of letters, digits and inner dashes, joined by dots, or an IPv6 address in brackets
/// (without a zone); then a port, if any.
fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').unwrap_or((rest, "?"));
        let port = match port.strip_prefix(':') {
            Some(port) => port,
            None if port.is_empty() => "0",
            None => "?",
        };
        let allowed = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        return if address.bytes().all(allowed)
            && address.parse::<std::net::Ipv6Addr>().is_ok()
            && is_port(port)
        {
            Ok(())
        } else {
            Err(
                "what is in brackets before the first `/` is not an IPv6 address and a port, such as `[::1]:5000`",
            )
        };
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.split('.').all(label_ok) && is_port(port) {
        Ok(())
    } else {
        Err("what is before the first `/` looks like a host, but is none")
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let mut bytes = tag.bytes();
    let first_ok = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest_ok = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first_ok && rest_ok && tag.len() <= MAX_TAG {
        Ok(())
    } else {
        Err("the tag may only have letters, digits, `_`, `.` and `-`, and at most 128 of them")
    }
}

/// Each component: lower-case letters and digits, joined by `.`, `_`, `__` or dashes.
fn check_repository(repository: &str) -> Result<(), &'static str> {
    for component in repository.split('/') {
        if component.is_empty() {
            return Err("a part of the name is empty");
        }
        if component.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("the name must be lower-case");
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let separator = |b: u8| matches!(b, b'.' | b'_' | b'-');
        let bytes = component.as_bytes();
        let edges_ok = allowed(bytes[0]) && allowed(bytes[bytes.len() - 1]);
        let runs_ok = component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'));
        if !edges_ok || !runs_ok || !bytes.iter().all(|b| allowed(*b) || separator(*b)) {
            return Err("a part of the name has characters that are not allowed there");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_normal_form() {
        let cases = [
            ("node", "docker.io/library/node:latest", "node:latest"),
            (
                "node:22-slim",
                "docker.io/library/node:22-slim",
                "node:22-slim",
            ),
            (
                "docker.io/node",
                "docker.io/library/node:latest",
                "node:latest",
            ),
            (
                "docker.io/library/node:22",
                "docker.io/library/node:22",
                "node:22",
            ),
            (
                "index.docker.io/library/node",
                "docker.io/library/node:latest",
                "node:latest",
            ),
            ("me/app:1.0", "docker.io/me/app:1.0", "me/app:1.0"),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app:latest",
            ),
            (
                "localhost:5000/app:x",
                "localhost:5000/app:x",
                "localhost:5000/app:x",
            ),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "[2001:db8:3:4::c0fe]/a/b",
                "[2001:db8:3:4::c0fe]/a/b:latest",
                "[2001:db8:3:4::c0fe]/a/b:latest",
            ),
            (
                "r.example.com/a/b/c:t",
                "r.example.com/a/b/c:t",
                "r.example.com/a/b/c:t",
            ),
            (
                "workerd-container-snap-0d4e1bd0-9c5e-4d0c-8f5c-0c3a7d5ef001",
                "docker.io/library/workerd-container-snap-0d4e1bd0-9c5e-4d0c-8f5c-0c3a7d5ef001:latest",
                "workerd-container-snap-0d4e1bd0-9c5e-4d0c-8f5c-0c3a7d5ef001:latest",
            ),
        ];
        for (text, canonical, familiar) in cases {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.familiar(), familiar);
            let again: Reference = familiar.parse().unwrap();
            assert_eq!(again, reference, "the familiar form means the same");
        }
    }

    #[test]
    fn a_digest_is_kept_beside_the_tag() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("node:22@{digest}").parse().unwrap();
        assert_eq!(reference.digest(), Some(&digest));
        assert_eq!(reference.tag(), "22");
        assert_eq!(reference.to_string(), format!("node:22@{digest}"));
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "/a",
            "a/",
            "a//b",
            "Node",
            "host.io/Node",
            "a b",
            "a:b c",
            "-a",
            "a-",
            "a..b",
            "../a",
            "a/../b",
            "a@",
            "a@sha256:00",
            "a:.x",
            "[::1]",
            "[::1]:5000",
            "[::1/x",
            "::1/x",
            "[]/x",
            "[:::]/x",
            "[::1]5000/x",
            "[::1]:/x",
            "[::1]:99999/x",
            "[fe80::1%25eth0]/x",
            "[fe80::1%eth0]/x",
            "[2001:db8:3:4::192.0.2.33]/x",
            "[host]/x",
            "host:+1/x",
            "a\n",
            "ä",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
