//! Whose request it is: a signature in the header `authorization`, or in the address.

use time::{Date, Month, OffsetDateTime, Time};

use super::error::S3Error;
use super::head::Head;
use super::keys::{AccessKey, Keys};
use super::payload::Payload;
use super::signature::{
    Chain, Scope, canonical_headers, canonical_path, canonical_query, string_to_sign, verify,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A clock may be off by so much.
const SKEW: time::Duration = time::Duration::minutes(15);
/// Seconds for which an address may be signed: a week.
const LONGEST: i64 = 604_800;
/// What is signed of a body that is not.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What a client says about its signature.
#[derive(Debug)]
struct Claim<'a> {
    key: &'a str,
    scope: Scope,
    signed: Vec<&'a str>,
    signature: &'a str,
    time: &'a str,
    /// Seconds for which it is good; `None`: it is a request of now.
    expires: Option<i64>,
    /// What is signed of the body.
    payload: &'a str,
}

fn malformed(text: &str) -> S3Error {
    S3Error::bad("AuthorizationHeaderMalformed", text)
}

fn credential(text: &str) -> Result<(&str, Scope), S3Error> {
    let malformed =
        || malformed("The credential is not of the form <key>/<date>/<region>/s3/aws4_request.");
    let mut parts = text.rsplitn(5, '/');
    let mut next = || parts.next().ok_or_else(malformed);
    let (end, service, region, date, key) = (next()?, next()?, next()?, next()?, next()?);
    if end != "aws4_request" || service != "s3" || key.is_empty() {
        return Err(malformed());
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Ok((key, scope))
}

impl<'a> Claim<'a> {
    fn of_header(head: &'a Head, header: &'a str) -> Result<Self, S3Error> {
        let fields = header
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| S3Error::bad("InvalidRequest", "Please use AWS4-HMAC-SHA256."))?;
        let mut found: [Option<&str>; 3] = [None; 3];
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').unwrap_or_default();
            let names = ["Credential", "SignedHeaders", "Signature"];
            if let Some(at) = names.iter().position(|known| *known == name) {
                found[at] = Some(value);
            }
        }
        let [Some(claimed), Some(signed), Some(signature)] = found else {
            return Err(malformed(
                "Credential, SignedHeaders and Signature are needed.",
            ));
        };
        let (key, scope) = credential(claimed)?;
        let time = head.header("x-amz-date").ok_or_else(|| {
            S3Error::denied("AWS authentication requires a valid Date or x-amz-date header")
        })?;
        let payload = head.header("x-amz-content-sha256").ok_or_else(|| {
            S3Error::bad(
                "InvalidRequest",
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        Ok(Self {
            key,
            scope,
            signed: signed.split(';').collect(),
            signature,
            time,
            expires: None,
            payload,
        })
    }

    fn of_query(head: &'a Head) -> Result<Self, S3Error> {
        let need = |name: &str| {
            head.query(name).ok_or_else(|| {
                let text = format!("The parameter {name} is missing.");
                S3Error::bad("AuthorizationQueryParametersError", text)
            })
        };
        if need("X-Amz-Algorithm")? != ALGORITHM {
            let text = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
            return Err(S3Error::bad("AuthorizationQueryParametersError", text));
        }
        let (key, scope) = credential(need("X-Amz-Credential")?)?;
        let expires = need("X-Amz-Expires")?.parse().ok();
        let expires = expires.filter(|seconds| (0..=LONGEST).contains(seconds));
        let expires = expires.ok_or_else(|| {
            let text = "X-Amz-Expires must be between 0 and 604800 seconds";
            S3Error::bad("AuthorizationQueryParametersError", text)
        })?;
        let signed: Vec<&str> = need("X-Amz-SignedHeaders")?.split(';').collect();
        let of_header = head.header("x-amz-content-sha256");
        let payload = of_header.filter(|_| signed.contains(&"x-amz-content-sha256"));
        Ok(Self {
            key,
            scope,
            signature: need("X-Amz-Signature")?,
            time: need("X-Amz-Date")?,
            expires: Some(expires),
            payload: payload
                .or_else(|| head.query("X-Amz-Content-Sha256"))
                .unwrap_or(UNSIGNED),
            signed,
        })
    }

    /// Whether it is made at this time.
    fn timely(&self, now: OffsetDateTime) -> Result<(), S3Error> {
        let made = parse(self.time)
            .ok_or_else(|| malformed("The time is not of the form YYYYMMDDTHHMMSSZ."))?;
        if !self.time.starts_with(&self.scope.date) {
            return Err(malformed(
                "The date of the credential is not that of the request.",
            ));
        }
        let skewed = match self.expires {
            None => (now - made).abs() > SKEW,
            Some(_) => made - now > SKEW,
        };
        if skewed {
            let text = "The difference between the request time and the current time is too large.";
            return Err(S3Error::forbidden("RequestTimeTooSkewed", text));
        }
        if self
            .expires
            .is_some_and(|seconds| now - made > time::Duration::seconds(seconds))
        {
            return Err(S3Error::denied("Request has expired"));
        }
        Ok(())
    }

    /// The host, and what changes the meaning of a request, must be signed.
    fn covers(&self, head: &Head) -> Result<(), S3Error> {
        let signed = |name: &str| self.signed.contains(&name);
        let names = head.headers.keys().map(http::HeaderName::as_str);
        let mut unsigned = names.filter(|name| {
            name.starts_with("x-amz-") && *name != "x-amz-content-sha256" && !signed(name)
        });
        if !signed("host") || unsigned.next().is_some() {
            let text = "There were headers present in the request which were not signed";
            return Err(S3Error::denied(text));
        }
        Ok(())
    }
}

/// Of `YYYYMMDDTHHMMSSZ`.
fn parse(text: &str) -> Option<OffsetDateTime> {
    let digits = |from: usize, to: usize| -> Option<u16> {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let two = |from: usize| u8::try_from(digits(from, from + 2)?).ok();
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let month = Month::try_from(two(4)?).ok()?;
    let date = Date::from_calendar_date(i32::from(digits(0, 4)?), month, two(6)?).ok()?;
    let time = Time::from_hms(two(9)?, two(11)?, two(13)?).ok()?;
    Some(date.with_time(time).assume_utc())
}

/// Whose request it is, and how its body comes.
pub(super) fn check(head: &Head, keys: &dyn Keys) -> Result<(AccessKey, Payload), S3Error> {
    check_at(head, keys, OffsetDateTime::now_utc())
}

fn check_at(
    head: &Head,
    keys: &dyn Keys,
    now: OffsetDateTime,
) -> Result<(AccessKey, Payload), S3Error> {
    let claim = match head.header("authorization") {
        Some(header) => Claim::of_header(head, header)?,
        None if head.query("X-Amz-Signature").is_some() => Claim::of_query(head)?,
        None => return Err(S3Error::denied("Access Denied: the request is not signed")),
    };
    claim.timely(now)?;
    claim.covers(head)?;
    let known = keys.key(claim.key).map_err(|error| {
        tracing::error!(error, "an access key cannot be read");
        S3Error::unavailable("The access key cannot be read.")
    })?;
    let known = known.ok_or_else(|| {
        let text = "The AWS Access Key Id you provided does not exist in our records.";
        S3Error::forbidden("InvalidAccessKeyId", text)
    })?;
    let mismatch = || {
        let text = "The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.";
        S3Error::forbidden("SignatureDoesNotMatch", text)
    };
    let headers = canonical_headers(&head.headers, &claim.signed).ok_or_else(mismatch)?;
    let key = claim.scope.key(&known.secret);
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(&head.raw_path).collect();
    let good = [canonical_path(&decoded), head.raw_path.clone()]
        .iter()
        .any(|path| {
            let request = format!(
                "{}\n{path}\n{}\n{headers}\n{}\n{}",
                head.method,
                canonical_query(&head.pairs),
                claim.signed.join(";"),
                claim.payload
            );
            let text = string_to_sign(claim.time, &claim.scope, &request);
            verify(&key, &text, claim.signature)
        });
    if !good {
        return Err(mismatch());
    }
    let chain = Chain {
        key,
        time: claim.time.to_owned(),
        scope: claim.scope.text(),
        last: claim.signature.to_owned(),
    };
    Ok((known, Payload::parse(claim.payload, head, chain)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{Permission, S3Options};

    struct One;
    impl Keys for One {
        fn key(&self, id: &str) -> Result<Option<AccessKey>, String> {
            Ok((id == "AKIAIOSFODNN7EXAMPLE").then(|| AccessKey {
                id: id.to_owned(),
                secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
                permission: Permission::Admin,
                buckets: None,
            }))
        }
    }

    fn at(text: &str) -> OffsetDateTime {
        parse(text).unwrap()
    }

    fn told(outcome: Result<(AccessKey, Payload), S3Error>) -> &'static str {
        outcome.map_or_else(|error| error.told().1, |_| "good")
    }

    fn head(uri: &str, headers: &[(&str, &str)]) -> Head {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Head::parse(&parts, &S3Options::default()).unwrap()
    }

    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

    /// The example of S3's documentation.
    #[test]
    fn a_signed_address() {
        let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let signed = head(uri, &[HOST]);
        assert_eq!(
            told(check_at(&signed, &One, at("20130524T120000Z"))),
            "good"
        );
        assert_eq!(
            told(check_at(&signed, &One, at("20130525T000001Z"))),
            "AccessDenied"
        );
        assert_eq!(
            told(check_at(&signed, &One, at("20130523T120000Z"))),
            "RequestTimeTooSkewed"
        );
        let other = head(&uri.replace("test.txt", "other.txt"), &[HOST]);
        assert_eq!(
            told(check_at(&other, &One, at("20130524T120000Z"))),
            "SignatureDoesNotMatch"
        );
        let acl = head(uri, &[HOST, ("x-amz-acl", "public-read")]);
        assert_eq!(
            told(check_at(&acl, &One, at("20130524T120000Z"))),
            "AccessDenied"
        );
        let who = head(&uri.replace("EXAMPLE", "NOBODY"), &[HOST]);
        assert_eq!(
            told(check_at(&who, &One, at("20130524T120000Z"))),
            "InvalidAccessKeyId"
        );
        let longer = head(&uri.replace("86400", "604801"), &[HOST]);
        assert_eq!(
            told(check_at(&longer, &One, at("20130524T120000Z"))),
            "AuthorizationQueryParametersError"
        );
    }

    #[test]
    fn a_signed_request_of_now() {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let headers = [
            HOST,
            ("authorization", authorization),
            ("range", "bytes=0-9"),
            (
                "x-amz-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let signed = head("/test.txt", &headers);
        assert_eq!(
            told(check_at(&signed, &One, at("20130524T000100Z"))),
            "good"
        );
        assert_eq!(
            told(check_at(&signed, &One, at("20130524T001600Z"))),
            "RequestTimeTooSkewed"
        );
        let nobody = head("/test.txt", &[HOST]);
        assert_eq!(
            told(check_at(&nobody, &One, at("20130524T000100Z"))),
            "AccessDenied"
        );
        for bad in [
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature=0",
            "AWS x:y",
        ] {
            let mut headers = headers;
            headers[1].1 = bad;
            let outcome = told(check_at(&head("/", &headers), &One, at("20130524T000100Z")));
            assert!(
                ["AuthorizationHeaderMalformed", "InvalidRequest"].contains(&outcome),
                "{bad}"
            );
        }
    }
}
