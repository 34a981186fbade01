//! Signature Version 4: what is signed, and with what.
//!
//! Source: "AWS Signature Version 4 for API requests", with its rules for S3 (no second encoding of the
//! path), and "Signature calculations: transferring payload in multiple chunks".

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};

use crate::digest::{hex, unhex};

/// What is not encoded in what is signed.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// SHA-256 of nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `<date>/<region>/<service>/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

impl Scope {
    pub(super) fn text(&self) -> String {
        let Self {
            date,
            region,
            service,
        } = self;
        format!("{date}/{region}/{service}/aws4_request")
    }

    /// What a secret becomes for it.
    pub(super) fn key(&self, secret: &str) -> hmac::Key {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [&self.date, &self.region, &self.service, "aws4_request"] {
            let step = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&step, part.as_bytes()).as_ref().to_vec();
        }
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Of a path as it was sent, decoded.
pub(super) fn canonical_path(decoded: &[u8]) -> String {
    percent_encoding::percent_encode(decoded, PATH).to_string()
}

/// Of parameters, without the signature itself.
pub(super) fn canonical_query(pairs: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let pairs = pairs.iter().filter(|(name, _)| name != "X-Amz-Signature");
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// The signed headers, each in its line. `None`: one is not there.
pub(super) fn canonical_headers(headers: &HeaderMap, signed: &[&str]) -> Option<String> {
    let mut text = String::new();
    for name in signed {
        let mut values = Vec::new();
        for value in headers.get_all(*name) {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            values.push(value.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        }
        if values.is_empty() {
            return None;
        }
        text.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Some(text)
}

/// What is signed of a whole request.
pub(super) fn string_to_sign(time: &str, scope: &Scope, canonical_request: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256\n{time}\n{}\n{}",
        scope.text(),
        sha256(canonical_request.as_bytes())
    )
}

/// Whether a signature in hexadecimal is that of the text. Takes as long whatever it is.
pub(super) fn verify(key: &hmac::Key, text: &str, signature: &str) -> bool {
    let tag = unhex(signature).unwrap_or_default();
    hmac::verify(key, text.as_bytes(), &tag).is_ok()
}

/// The signatures of a body's chunks, each of which signs the one before.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) key: hmac::Key,
    pub(super) time: String,
    pub(super) scope: String,
    pub(super) last: String,
}

impl Chain {
    /// Takes the next chunk.
    pub(super) fn chunk(&mut self, sha256: &str, signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{NOTHING}\n{sha256}",
            self.time, self.scope, self.last
        );
        self.take(&text, signature)
    }

    /// Takes what comes after the last chunk.
    pub(super) fn trailer(&mut self, trailer: &str, signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.time,
            self.scope,
            self.last,
            sha256(trailer.as_bytes())
        );
        self.take(&text, signature)
    }

    fn take(&mut self, text: &str, signature: &str) -> bool {
        signature.clone_into(&mut self.last);
        verify(&self.key, text, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn scope() -> Scope {
        Scope {
            date: "20130524".to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        }
    }

    /// The examples of S3's documentation.
    #[test]
    fn a_get_with_a_range() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", NOTHING),
            ("x-amz-date", "20130524T000000Z"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let signed = ["host", "range", "x-amz-content-sha256", "x-amz-date"];
        let headers = canonical_headers(&headers, &signed).unwrap();
        let request = format!(
            "GET\n/test.txt\n\n{headers}\n{}\n{NOTHING}",
            signed.join(";")
        );
        let text = string_to_sign("20130524T000000Z", &scope(), &request);
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(verify(&scope().key(SECRET), &text, signature));
        assert!(!verify(&scope().key("other"), &text, signature));
        assert!(!verify(&scope().key(SECRET), &text, "00"));
    }

    #[test]
    fn chunks_one_after_another() {
        let mut chain = Chain {
            key: scope().key(SECRET),
            time: "20130524T000000Z".to_owned(),
            scope: scope().text(),
            last: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
        };
        for (bytes, signature) in [
            (
                65536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ] {
            assert!(
                chain.chunk(&sha256(&vec![b'a'; bytes]), signature),
                "{bytes}"
            );
        }
        assert!(!chain.chunk(NOTHING, "00"));
    }

    #[test]
    fn parameters_in_order() {
        let pairs = [
            ("b", "2 /"),
            ("a", "ü"),
            ("X-Amz-Signature", "x"),
            ("a", ""),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(canonical_query(&pairs), "a=&a=%C3%BC&b=2%20%2F");
        assert_eq!(canonical_path("/a b/ü+".as_bytes()), "/a%20b/%C3%BC%2B");
    }
}
