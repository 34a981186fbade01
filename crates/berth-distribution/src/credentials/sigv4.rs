//! AWS Signature Version 4, for requests with a body and without a query (AWS, "Create a signed AWS
//! API request").

use std::fmt::Write as _;
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// What is signed. Header names are lower-case and include `host`; the time is added.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The two headers that are added.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
}

impl Signer<'_> {
    pub(super) fn sign(&self, request: &Request<'_>, now: SystemTime) -> Signed {
        let now = OffsetDateTime::from(now);
        let day = format!(
            "{:04}{:02}{:02}",
            now.year(),
            u8::from(now.month()),
            now.day()
        );
        let date = format!(
            "{day}T{:02}{:02}{:02}Z",
            now.hour(),
            now.minute(),
            now.second()
        );
        let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
        headers.push(("x-amz-date", &date));
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
        for (name, value) in &headers {
            let value: Vec<&str> = value.split_whitespace().collect();
            let _ = writeln!(canonical, "{name}:{}", value.join(" "));
        }
        let _ = write!(
            canonical,
            "\n{names}\n{}",
            hex(&Sha256::digest(request.body))
        );
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(&Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [&*day, self.region, self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        Signed {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                self.access_key_id
            ),
            date,
        }
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // A key of any length is allowed.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2015-08-30T12:36:00Z, the time of AWS's test suite.
    const NOW: u64 = 1_440_938_160;
    const SIGNER: Signer<'_> = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        service: "service",
    };

    fn signature(method: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let request = Request {
            method,
            path: "/",
            headers,
            body,
        };
        let signed = SIGNER.sign(&request, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
        assert_eq!(signed.date, "20150830T123600Z");
        assert!(signed.authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
        ));
        let (_, signature) = signed.authorization.rsplit_once('=').unwrap();
        signature.to_owned()
    }

    /// `get-vanilla`, `post-vanilla`, `post-header-value-trim`-like and
    /// `post-x-www-form-urlencoded` of AWS's published suite.
    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let host = ("host", "example.amazonaws.com");
        assert_eq!(
            signature("GET", &[host], b""),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            signature("POST", &[host], b""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(
            signature("POST", &[host, form], b"Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        assert_eq!(
            signature(
                "GET",
                &[
                    host,
                    ("my-header1", " value1"),
                    ("my-header2", " \"a   b   c\"")
                ],
                b""
            ),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"
        );
    }
}
