//! Headers that say something about an object: its metadata, its checksums, conditions.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::S3Error;
use super::head::Head;
use crate::condition::{Conditions, EtagMatch};
use crate::digest::Algorithm;
use crate::object::{HttpMetadata, Metadata, Object, StorageClass};
use crate::{R2Error, Sums};

/// What a client's own metadata begin with.
const OWN: &str = "x-amz-meta-";

/// Checksums that clients send, with the header and the word of each.
const SUMS: [(Algorithm, &str, &str); 5] = [
    (Algorithm::Crc32, "x-amz-checksum-crc32", "CRC32"),
    (Algorithm::Crc32c, "x-amz-checksum-crc32c", "CRC32C"),
    (
        Algorithm::Crc64Nvme,
        "x-amz-checksum-crc64nvme",
        "CRC64NVME",
    ),
    (Algorithm::Sha1, "x-amz-checksum-sha1", "SHA1"),
    (Algorithm::Sha256, "x-amz-checksum-sha256", "SHA256"),
];

/// The checksum of a header.
pub(super) fn checksum_header(name: &str) -> Option<Algorithm> {
    let found = SUMS.iter().find(|(_, header, _)| *header == name);
    found.map(|(algorithm, ..)| *algorithm)
}

/// The header of a checksum.
pub(super) fn checksum_name(algorithm: Algorithm) -> &'static str {
    let found = SUMS.iter().find(|(known, ..)| *known == algorithm);
    found.map_or("", |(_, header, _)| header)
}

/// The word of a checksum, in XML and in headers.
pub(super) fn checksum_word(algorithm: Algorithm) -> Option<&'static str> {
    let found = SUMS.iter().find(|(known, ..)| *known == algorithm);
    found.map(|(.., word)| *word)
}

/// The checksum of a word.
pub(super) fn checksum_of_word(word: &str) -> Result<Algorithm, S3Error> {
    let found = SUMS
        .iter()
        .find(|(.., known)| known.eq_ignore_ascii_case(word));
    found.map(|(algorithm, ..)| *algorithm).ok_or_else(|| {
        let text = format!("Checksum algorithm provided is unsupported: {word}");
        S3Error::bad("InvalidRequest", text)
    })
}

/// What the bytes must have, as the headers say.
pub(super) fn expected(head: &Head) -> Result<Sums, S3Error> {
    let mut sums = Sums::default();
    let md5 = [(Algorithm::Md5, "content-md5", "MD5")];
    for (algorithm, name, word) in md5.iter().chain(&SUMS) {
        let Some(value) = head.header(name) else {
            continue;
        };
        // Of an upload in parts it may be the checksum of checksums, with their number.
        if value.contains('-') {
            continue;
        }
        let sum = BASE64_STANDARD.decode(value).ok();
        let sum = sum
            .filter(|sum| sum.len() == algorithm.bytes())
            .ok_or_else(|| {
                let text = format!("The {word} you specified is not valid: {value}");
                S3Error::bad("InvalidDigest", text)
            })?;
        sums.0.insert(*algorithm, sum);
    }
    Ok(sums)
}

/// What is said with the bytes of an object.
pub(super) fn metadata(head: &Head, default: StorageClass) -> Result<Metadata, S3Error> {
    let text = |name: &str| head.header(name).map(str::to_owned);
    // How the bytes came, not what they are.
    let encoding = text("content-encoding").map(|value| {
        let codings = value.split(',').map(str::trim);
        let codings: Vec<&str> = codings.filter(|coding| *coding != "aws-chunked").collect();
        codings.join(",")
    });
    let expires = text("expires").and_then(|value| httpdate::parse_http_date(&value).ok());
    let http = HttpMetadata {
        content_type: text("content-type"),
        content_language: text("content-language"),
        content_disposition: text("content-disposition"),
        content_encoding: encoding.filter(|encoding| !encoding.is_empty()),
        cache_control: text("cache-control"),
        cache_expiry: expires.and_then(milliseconds),
    };
    let class = match head.header("x-amz-storage-class") {
        Some(word) => StorageClass::parse(word).ok_or_else(|| {
            let text = "The storage class you specified is not valid";
            S3Error::bad("InvalidStorageClass", text)
        })?,
        None => default,
    };
    let mut custom = BTreeMap::new();
    for (name, value) in &head.headers {
        if let Some(name) = name.as_str().strip_prefix(OWN) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            custom.insert(name.to_owned(), value);
        }
    }
    Ok(Metadata {
        http,
        custom,
        class,
    })
}

fn milliseconds(time: std::time::SystemTime) -> Option<u64> {
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Of milliseconds since 1970, as headers have it.
pub(super) fn http_time(milliseconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(milliseconds);
    httpdate::fmt_http_date(time)
}

/// The same as XML has it.
pub(super) fn xml_time(milliseconds: u64) -> String {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    let time = time.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// Headers of an object that is answered. Those that are no headers are left out.
pub(super) fn headers(object: &Object, head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    };
    let http = &object.metadata.http;
    let kind = http.content_type.as_deref();
    put("content-type", kind.unwrap_or("binary/octet-stream"));
    let expires = http.cache_expiry.map(http_time);
    for (name, value) in [
        ("content-language", &http.content_language),
        ("content-disposition", &http.content_disposition),
        ("content-encoding", &http.content_encoding),
        ("cache-control", &http.cache_control),
        ("expires", &expires),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    put("etag", &format!("\"{}\"", object.etag));
    put("last-modified", &http_time(object.uploaded));
    put("accept-ranges", "bytes");
    if object.metadata.class != StorageClass::Standard {
        put("x-amz-storage-class", object.metadata.class.s3_word());
    }
    for (name, value) in &object.metadata.custom {
        put(&format!("{OWN}{name}"), value);
    }
    // What the address wants to have said instead.
    for name in [
        "content-type",
        "content-language",
        "content-disposition",
        "content-encoding",
        "cache-control",
        "expires",
    ] {
        if let Some(value) = head.query(&format!("response-{name}")) {
            put(name, value);
        }
    }
    headers
}

/// Checksums of all the bytes, for clients that ask.
pub(super) fn put_sums(headers: &mut HeaderMap, sums: &Sums) {
    for (algorithm, name, _) in SUMS {
        let sum = sums.get(algorithm).map(|sum| BASE64_STANDARD.encode(sum));
        if let Some(sum) = sum.and_then(|sum| HeaderValue::from_str(&sum).ok()) {
            headers.insert(HeaderName::from_static(name), sum);
            let whole = HeaderValue::from_static("FULL_OBJECT");
            headers.insert("x-amz-checksum-type", whole);
        }
    }
}

fn tags(value: &str) -> Vec<EtagMatch> {
    let tags = value
        .split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty());
    tags.map(|tag| match tag.strip_prefix("W/") {
        _ if tag == "*" => EtagMatch::Any,
        Some(weak) => EtagMatch::Weak(weak.trim_matches('"').to_owned()),
        None => EtagMatch::Strong(tag.trim_matches('"').to_owned()),
    })
    .collect()
}

/// Conditions in headers whose names begin so (`if-match` and the like).
pub(super) fn conditions(head: &Head, prefix: &str) -> Conditions {
    let header = |name: &str| head.header(&format!("{prefix}{name}"));
    let time = |name: &str| {
        let time = httpdate::parse_http_date(header(name)?).ok()?;
        milliseconds(time)
    };
    Conditions {
        etag_matches: header("if-match").map(tags),
        etag_differs: header("if-none-match").map(tags),
        uploaded_before: time("if-unmodified-since"),
        uploaded_after: time("if-modified-since"),
        seconds: true,
    }
}

/// A tag as it is in XML and headers, without quotes.
pub(super) fn unquoted(tag: &str) -> &str {
    tag.trim().trim_matches('"')
}

/// `<headers>` and a length, for an answer without a body.
pub(super) fn set_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// A number in the address.
pub(super) fn number(head: &Head, name: &str) -> Result<Option<u64>, S3Error> {
    let Some(value) = head.query(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.parse().map_err(|_| {
        S3Error::from(R2Error::Argument(format!(
            "Provided {name} not an integer or within integer range"
        )))
    });
    number.map(Some)
}
