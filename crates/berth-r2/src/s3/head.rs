//! A request's head: which bucket and key it names, and what is asked of them.

use http::request::Parts;
use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

use super::S3Options;
use super::error::S3Error;

/// Parameters that ask for something beside the bucket or object itself.
const SUBRESOURCES: [&str; 29] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
];
/// The same that only are refused.
const MORE: [&str; 3] = ["versions", "website", "partNumber"];

/// What a request says before its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// As it was sent.
    pub(super) raw_path: String,
    /// Decoded, in order.
    pub(super) pairs: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
}

fn decode(text: &str) -> Result<String, S3Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded =
        decoded.map_err(|_| S3Error::bad("InvalidURI", "Couldn't parse the specified URI."))?;
    Ok(decoded.into_owned())
}

impl Head {
    pub(super) fn parse(parts: &Parts, options: &S3Options) -> Result<Self, S3Error> {
        let raw_path = parts.uri.path().to_owned();
        let mut pairs = Vec::new();
        for pair in parts.uri.query().unwrap_or_default().split('&') {
            if !pair.is_empty() {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                pairs.push((decode(name)?, decode(value)?));
            }
        }
        let host = parts.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = raw_path.strip_prefix('/').unwrap_or(&raw_path);
        let (bucket, key) = match of_host(host, &options.domains) {
            Some(bucket) => (bucket.to_owned(), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (decode(bucket)?, key)
            }
        };
        let key = decode(key)?;
        Ok(Self {
            method: parts.method.clone(),
            raw_path,
            pairs,
            headers: parts.headers.clone(),
            bucket: (!bucket.is_empty()).then_some(bucket),
            key: (!key.is_empty()).then_some(key),
        })
    }

    /// A parameter of the address.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        let found = pairs.find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// A header that is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }

    /// What is asked for beside the bucket or object.
    pub(super) fn subresource(&self) -> Option<&'static str> {
        let asked = |name: &&&'static str| self.query(name).is_some();
        let found = SUBRESOURCES.iter().find(asked);
        // Parts are named with their upload.
        let part = self.query("uploadId").is_none();
        let more = || MORE.iter().filter(|_| part).find(asked);
        found.or_else(more).copied()
    }

    /// The bucket; only asked where there is one.
    pub(super) fn bucket(&self) -> &str {
        self.bucket.as_deref().unwrap_or_default()
    }

    /// The key; only asked where there is one.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }
}

/// The bucket that a host names.
fn of_host<'a>(host: &'a str, domains: &[String]) -> Option<&'a str> {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let of = |domain: &String| {
        let at = name.len().checked_sub(domain.len())?;
        let (bucket, rest) = name.split_at_checked(at)?;
        let bucket = bucket.strip_suffix('.')?;
        (rest.eq_ignore_ascii_case(domain) && !bucket.is_empty() && !bucket.contains('.'))
            .then_some(bucket)
    };
    domains.iter().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, host: &str) -> Head {
        let request = http::Request::builder().uri(uri).header("host", host);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let domains = vec!["s3.example.com".to_owned()];
        Head::parse(&parts, &S3Options { domains }).unwrap()
    }

    #[test]
    fn buckets_and_keys() {
        for (uri, host, bucket, key) in [
            ("/", "localhost:1", None, None),
            ("/b", "localhost:1", Some("b"), None),
            ("/b/", "localhost:1", Some("b"), None),
            (
                "/b/a%20b//c%2Fd/",
                "127.0.0.1",
                Some("b"),
                Some("a b//c/d/"),
            ),
            ("/k/l", "b.s3.example.com:80", Some("b"), Some("k/l")),
            ("/", "b.S3.example.com", Some("b"), None),
            ("/b/k", "s3.example.com", Some("b"), Some("k")),
            ("/b/k", "a.b.s3.example.com", Some("b"), Some("k")),
        ] {
            let head = head(uri, host);
            assert_eq!(
                (head.bucket.as_deref(), head.key.as_deref()),
                (bucket, key),
                "{uri} {host}"
            );
        }
    }

    #[test]
    fn what_is_asked() {
        assert_eq!(head("/b?uploads", "x").subresource(), Some("uploads"));
        assert_eq!(head("/b?list-type=2&prefix=acl", "x").subresource(), None);
        assert_eq!(
            head("/b/k?partNumber=1&uploadId=x", "x").subresource(),
            None
        );
        assert_eq!(
            head("/b/k?partNumber=1", "x").subresource(),
            Some("partNumber")
        );
        assert_eq!(head("/b/k?x=a%26b", "x").query("x"), Some("a&b"));
    }
}
