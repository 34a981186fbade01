//! What workerd asks: `R2BindingRequest`, as Cap'n Proto's JSON has it. Numbers of 64 bits are strings
//! there; what is a default is left out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};

use crate::condition::{Conditions, EtagMatch};
use crate::digest::{Algorithm, unhex};
use crate::list::Position;
use crate::object::HttpMetadata;
use crate::range::Range;
use crate::{R2Error, Sums};

/// A request.
#[derive(Deserialize)]
pub(super) struct BindingRequest {
    #[serde(flatten)]
    pub(super) payload: Call,
}

#[derive(Deserialize)]
#[serde(tag = "method", rename_all = "camelCase")]
pub(super) enum Call {
    Head(Head),
    Get(Box<Get>),
    Put(Box<PutCall>),
    List(List),
    Delete(Delete),
    CreateMultipartUpload(Create),
    UploadPart(UploadPart),
    CompleteMultipartUpload(Complete),
    AbortMultipartUpload(Abort),
}

/// A number that may be text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = serde_json::Value::deserialize(deserializer)?;
        let number = match &value {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{value}` is not a number")))
    }
}

impl Number {
    /// The most there is stands for none.
    fn given(number: Option<Self>) -> Option<u64> {
        number.map(|number| number.0).filter(|it| *it != u64::MAX)
    }
}

#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) object: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    pub(super) object: String,
    range: Option<RangeCall>,
    range_header: Option<String>,
    pub(super) only_if: Option<Conditional>,
    #[serde(default)]
    pub(super) ssec: Ssec,
}

#[derive(Deserialize)]
struct RangeCall {
    offset: Option<Number>,
    length: Option<Number>,
    suffix: Option<Number>,
}

impl Get {
    /// A header that is no range of bytes is ignored, as everywhere.
    pub(super) fn range(&self) -> Result<Range, R2Error> {
        if let Some(header) = &self.range_header {
            return Ok(Range::parse(header).unwrap_or_default());
        }
        let Some(range) = &self.range else {
            return Ok(Range::All);
        };
        let suffix = Number::given(range.suffix);
        let (offset, length) = (Number::given(range.offset), Number::given(range.length));
        Ok(match (suffix, offset, length) {
            (Some(suffix), ..) => Range::Last(suffix),
            // Of an object without bytes, too, this is all.
            (None, None | Some(0), None) => Range::All,
            (None, offset, length) => Range::From {
                offset: offset.unwrap_or(0),
                length,
            },
        })
    }
}

#[derive(Default, Deserialize)]
pub(super) struct Ssec {
    key: Option<String>,
}

impl Ssec {
    pub(super) fn refuse(&self) -> Result<(), R2Error> {
        match &self.key {
            Some(_) => Err(R2Error::Argument(
                "SSE-C (`ssecKey`) is not supported by this store.".to_owned(),
            )),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Etag {
    #[serde(default)]
    value: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conditional {
    etag_matches: Option<Vec<Etag>>,
    etag_does_not_match: Option<Vec<Etag>>,
    uploaded_before: Option<Number>,
    uploaded_after: Option<Number>,
    #[serde(default)]
    seconds_granularity: bool,
}

impl From<Conditional> for Conditions {
    fn from(conditional: Conditional) -> Self {
        let tags = |tags: Option<Vec<Etag>>| {
            let tags = tags.filter(|tags| !tags.is_empty())?.into_iter();
            Some(
                tags.map(|tag| match tag.kind.as_str() {
                    "wildcard" => EtagMatch::Any,
                    "weak" => EtagMatch::Weak(tag.value),
                    _ => EtagMatch::Strong(tag.value),
                })
                .collect(),
            )
        };
        Self {
            etag_matches: tags(conditional.etag_matches),
            etag_differs: tags(conditional.etag_does_not_match),
            uploaded_before: Number::given(conditional.uploaded_before),
            uploaded_after: Number::given(conditional.uploaded_after),
            seconds: conditional.seconds_granularity,
        }
    }
}

/// What is said with the bytes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct About {
    custom_fields: Vec<Record>,
    http_fields: Http,
    pub(super) storage_class: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    k: String,
    #[serde(default)]
    v: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Http {
    content_type: Option<String>,
    content_language: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    cache_control: Option<String>,
    cache_expiry: Option<Number>,
}

impl About {
    pub(super) fn http(&self) -> HttpMetadata {
        let http = &self.http_fields;
        HttpMetadata {
            content_type: http.content_type.clone(),
            content_language: http.content_language.clone(),
            content_disposition: http.content_disposition.clone(),
            content_encoding: http.content_encoding.clone(),
            cache_control: http.cache_control.clone(),
            cache_expiry: Number::given(http.cache_expiry),
        }
    }

    pub(super) fn custom(&self) -> BTreeMap<String, String> {
        let fields = self.custom_fields.iter();
        fields
            .map(|field| (field.k.clone(), field.v.clone()))
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutCall {
    pub(super) object: String,
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) only_if: Option<Conditional>,
    #[serde(flatten)]
    pub(super) sums: SumsCall,
    #[serde(default)]
    pub(super) ssec: Ssec,
}

/// Checksums: MD5 in base64, the others in hexadecimal.
#[derive(Deserialize)]
pub(super) struct SumsCall {
    md5: Option<String>,
    sha1: Option<String>,
    sha256: Option<String>,
    sha384: Option<String>,
    sha512: Option<String>,
}

impl SumsCall {
    pub(super) fn decode(&self) -> Result<Sums, R2Error> {
        let mut sums = Sums::default();
        let base64 = |text: &String| BASE64_STANDARD.decode(text).ok();
        for (algorithm, given, decoded) in [
            (
                Algorithm::Md5,
                &self.md5,
                self.md5.as_ref().and_then(base64),
            ),
            (
                Algorithm::Sha1,
                &self.sha1,
                self.sha1.as_deref().and_then(unhex),
            ),
            (
                Algorithm::Sha256,
                &self.sha256,
                self.sha256.as_deref().and_then(unhex),
            ),
            (
                Algorithm::Sha384,
                &self.sha384,
                self.sha384.as_deref().and_then(unhex),
            ),
            (
                Algorithm::Sha512,
                &self.sha512,
                self.sha512.as_deref().and_then(unhex),
            ),
        ] {
            let Some(given) = given else { continue };
            let decoded = decoded.filter(|sum| sum.len() == algorithm.bytes());
            let sum = decoded.ok_or_else(|| {
                R2Error::Argument(format!("`{given}` is not a checksum of {algorithm}."))
            })?;
            sums.0.insert(algorithm, sum);
        }
        Ok(sums)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    pub(super) object: String,
    #[serde(flatten)]
    pub(super) about: About,
    #[serde(default)]
    pub(super) ssec: Ssec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadPart {
    pub(super) object: String,
    pub(super) upload_id: String,
    pub(super) part_number: u32,
    #[serde(default)]
    pub(super) ssec: Ssec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Complete {
    pub(super) object: String,
    pub(super) upload_id: String,
    #[serde(default)]
    pub(super) parts: Vec<Published>,
}

#[derive(Deserialize)]
pub(super) struct Published {
    pub(super) etag: String,
    pub(super) part: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Abort {
    pub(super) object: String,
    pub(super) upload_id: String,
}

#[derive(Deserialize)]
pub(super) struct Delete {
    object: Option<String>,
    objects: Option<Vec<String>>,
}

impl Delete {
    pub(super) fn keys(self) -> Vec<String> {
        let mut keys = self.objects.unwrap_or_default();
        keys.extend(self.object);
        keys
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    pub(super) limit: Option<Number>,
    pub(super) prefix: Option<String>,
    pub(super) cursor: Option<String>,
    pub(super) delimiter: Option<String>,
    pub(super) start_after: Option<String>,
    #[serde(default)]
    include: Vec<u16>,
}

/// What is told of each object beyond the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) http: bool,
    pub(super) custom: bool,
}

impl Fields {
    pub(super) const ALL: Self = Self {
        http: true,
        custom: true,
    };

    pub(super) fn any(self) -> bool {
        self.http || self.custom
    }
}

impl List {
    pub(super) fn fields(&self) -> Fields {
        Fields {
            http: self.include.contains(&0),
            custom: self.include.contains(&1),
        }
    }
}

impl Position {
    /// As clients carry it from one page to the next.
    pub(crate) fn cursor(&self) -> String {
        let text = match self {
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        };
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    /// Of what [`Position::cursor`] gave.
    pub(crate) fn from_cursor(cursor: &str) -> Option<Self> {
        let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()?;
        let text = String::from_utf8(bytes).ok()?;
        match text.split_at_checked(1)? {
            ("k", key) => Some(Self::Key(key.to_owned())),
            ("p", prefix) => Some(Self::Prefix(prefix.to_owned())),
            _ => None,
        }
    }

    /// The one that is farther on. A page that goes on is past where the list began, but for a cursor
    /// of another list.
    pub(super) fn later(start: Option<Self>, cursor: Self) -> Self {
        match (start, &cursor) {
            (Some(Self::Key(start)), Self::Key(key)) if start > *key => Self::Key(start),
            (Some(Self::Key(start)), Self::Prefix(prefix))
                if start > *prefix && !start.starts_with(prefix.as_str()) =>
            {
                Self::Key(start)
            }
            _ => cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Call {
        serde_json::from_str::<BindingRequest>(json)
            .unwrap()
            .payload
    }

    #[test]
    fn what_workerd_sends() {
        let Call::Get(get) = parse(
            r#"{"version":1,"method":"get","object":"a/ü","range":{"offset":"2","length":"3"},
            "onlyIf":{"etagMatches":[{"value":"x","type":"strong"},{"type":"wildcard"}],"uploadedBefore":"12"}}"#,
        ) else {
            panic!()
        };
        let range = Range::From {
            offset: 2,
            length: Some(3),
        };
        assert_eq!(get.range().unwrap(), range);
        let conditions: Conditions = get.only_if.unwrap().into();
        let tags = vec![EtagMatch::Strong("x".to_owned()), EtagMatch::Any];
        assert_eq!(conditions.etag_matches, Some(tags));
        assert_eq!(
            (conditions.uploaded_before, conditions.uploaded_after),
            (Some(12), None)
        );

        let Call::Put(put) = parse(
            r#"{"version":1,"method":"put","object":"k","customFields":[{"k":"a","v":"b"}],
            "httpFields":{"contentType":"text/plain","cacheExpiry":"5"},"md5":"XUFAKrxLKna5cZ2REBfFkg==",
            "storageClass":"InfrequentAccess"}"#,
        ) else {
            panic!()
        };
        assert_eq!(put.about.custom()["a"], "b");
        assert_eq!(put.about.http().cache_expiry, Some(5));
        let sums = put.sums.decode().unwrap();
        assert_eq!(
            crate::digest::hex(sums.get(Algorithm::Md5).unwrap()),
            "5d41402abc4b2a76b9719d911017c592"
        );
        let Call::Delete(delete) = parse(r#"{"version":1,"method":"delete","objects":["a","b"]}"#)
        else {
            panic!()
        };
        assert_eq!(delete.keys(), ["a", "b"]);
        let Call::UploadPart(part) =
            parse(r#"{"method":"uploadPart","object":"k","uploadId":"u","partNumber":3}"#)
        else {
            panic!()
        };
        assert_eq!((part.part_number, part.upload_id.as_str()), (3, "u"));
    }

    #[test]
    fn cursors() {
        for position in [
            Position::Key("a/ü".to_owned()),
            Position::Prefix(String::new()),
        ] {
            assert_eq!(Position::from_cursor(&position.cursor()), Some(position));
        }
        for bad in ["", "eA", "ä", "/w"] {
            assert_eq!(Position::from_cursor(bad), None, "{bad}");
        }
    }
}
