//! Rules of a bucket in S3's form: `?cors` and `?lifecycle`, set, read and deleted.
//!
//! Source: Amazon S3's API reference, PutBucketCors and PutBucketLifecycleConfiguration. What R2's rules cannot say
//! (tags, sizes, versions) is refused by its name: nothing of a document is left out.

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};

use super::error::S3Error;
use super::xml::{NAMESPACE, Xml, each, leaves};
use super::{Call, Service};
use crate::rules::{ClassTransition, Transition, When, Which};
use crate::{Allowed, CorsRule, LifecycleRule, StorageClass};

const DAY: u64 = 24 * 60 * 60;

/// An element of a rule: its path in it, and its text.
type Leaf = (String, String);

impl Service {
    /// `PUT` and `DELETE` of a bucket's settings.
    pub(super) async fn set_bucket(&self, call: Call, body: HttpBody) -> Result<Response, S3Error> {
        let Call { head, payload, .. } = call;
        let (bucket, name) = (head.bucket(), head.subresource());
        self.store.bucket(bucket).await?;
        if head.method == Method::DELETE {
            match name {
                Some("cors") => self.store.set_cors(bucket, &[]).await?,
                Some("lifecycle") => self.store.set_lifecycle(bucket, &[]).await?,
                _ => return Err(S3Error::not_implemented(&head)),
            }
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        if !matches!(name, Some("cors" | "lifecycle")) {
            return Err(S3Error::not_implemented(&head));
        }
        let document = leaves(&payload.collect(body).await?)?;
        if name == Some("cors") {
            self.store.set_cors(bucket, &cors_rules(&document)?).await?;
        } else {
            let rules = lifecycle_rules(&document)?;
            self.store.set_lifecycle(bucket, &rules).await?;
        }
        Ok(Response::default())
    }

    /// `GET ?cors`.
    pub(super) async fn cors(&self, bucket: &str) -> Result<Response, S3Error> {
        let rules = self.store.cors(bucket).await?;
        if rules.is_empty() {
            let text = "The bucket has no CORS configuration.";
            return Err(S3Error::missing("NoSuchCORSConfiguration", text));
        }
        let mut xml = Xml::new("CORSConfiguration", Some(NAMESPACE));
        for rule in &rules {
            xml.within("CORSRule", |xml| write_cors(xml, rule));
        }
        Ok(xml.response())
    }

    /// `GET ?lifecycle`.
    pub(super) async fn lifecycle(&self, bucket: &str) -> Result<Response, S3Error> {
        let rules = self.store.lifecycle(bucket).await?;
        if rules.is_empty() {
            let text = "The bucket has no lifecycle configuration.";
            return Err(S3Error::missing("NoSuchLifecycleConfiguration", text));
        }
        let mut xml = Xml::new("LifecycleConfiguration", Some(NAMESPACE));
        for rule in &rules {
            xml.within("Rule", |xml| write_lifecycle(xml, rule));
        }
        Ok(xml.response())
    }
}

fn malformed(text: impl Into<String>) -> S3Error {
    S3Error::bad("MalformedXML", text)
}

/// That something is not known here, by its name.
fn unknown(path: &str) -> S3Error {
    S3Error::unimplemented(format!("`{path}` of a rule is not implemented here."))
}

fn cors_rules(document: &[Leaf]) -> Result<Vec<CorsRule>, S3Error> {
    let mut rules = Vec::new();
    for element in each(document, "CORSRule") {
        let mut rule = CorsRule::default();
        for (path, text) in element {
            match path.as_str() {
                "ID" => rule.id = Some(text),
                "AllowedOrigin" => rule.allowed.origins.push(text),
                "AllowedMethod" => rule.allowed.methods.push(text),
                "AllowedHeader" => rule.allowed.headers.push(text),
                "ExposeHeader" => rule.expose_headers.push(text),
                "MaxAgeSeconds" => rule.max_age_seconds = Some(number(&path, &text)?),
                _ => return Err(unknown(&path)),
            }
        }
        rules.push(rule);
    }
    if rules.is_empty() {
        return Err(malformed("The document has no `CORSRule`."));
    }
    Ok(rules)
}

fn write_cors(xml: &mut Xml, rule: &CorsRule) {
    if let Some(id) = &rule.id {
        xml.text("ID", id);
    }
    let Allowed {
        origins,
        methods,
        headers,
    } = &rule.allowed;
    for (name, values) in [
        ("AllowedOrigin", origins),
        ("AllowedMethod", methods),
        ("AllowedHeader", headers),
        ("ExposeHeader", &rule.expose_headers),
    ] {
        for value in values {
            xml.text(name, value);
        }
    }
    if let Some(seconds) = rule.max_age_seconds {
        xml.text("MaxAgeSeconds", seconds);
    }
}

fn lifecycle_rules(document: &[Leaf]) -> Result<Vec<LifecycleRule>, S3Error> {
    let rules: Result<Vec<_>, _> = each(document, "Rule")
        .into_iter()
        .map(lifecycle_rule)
        .collect();
    match rules {
        Ok(rules) if rules.is_empty() => Err(malformed("The document has no `Rule`.")),
        rules => rules,
    }
}

fn lifecycle_rule(element: Vec<Leaf>) -> Result<LifecycleRule, S3Error> {
    let mut rule = LifecycleRule {
        id: crate::index::fresh(),
        enabled: false,
        conditions: Which::default(),
        delete_objects_transition: None,
        abort_multipart_uploads_transition: None,
        storage_class_transitions: Vec::new(),
    };
    let mut status = None;
    // Of the transition that is being read.
    let (mut when, mut class) = (None, None);
    for (path, text) in element {
        match path.as_str() {
            "ID" if !text.is_empty() => rule.id = text,
            "ID" | "Filter" | "Filter/" | "Expiration/" | "AbortIncompleteMultipartUpload/" => {}
            "Status" => status = Some(text),
            "Prefix" | "Filter/Prefix" => {
                rule.conditions.prefix = Some(text).filter(|prefix| !prefix.is_empty());
            }
            "Expiration/Days" | "Expiration/Date" => {
                let condition = condition(&path, text)?;
                rule.delete_objects_transition = Some(Transition { condition });
            }
            "AbortIncompleteMultipartUpload/DaysAfterInitiation" => {
                let condition = condition("Days", text)?;
                rule.abort_multipart_uploads_transition = Some(Transition { condition });
            }
            "Transition/Days" | "Transition/Date" => when = Some(condition(&path, text)?),
            "Transition/StorageClass" => {
                let known = StorageClass::parse(&text);
                class = Some(known.ok_or_else(|| unknown(&format!("StorageClass {text}")))?);
            }
            "Transition/" => {
                let (Some(condition), Some(class)) = (when.take(), class.take()) else {
                    let text = "A `Transition` has `Days` or `Date`, and a `StorageClass`.";
                    return Err(malformed(text));
                };
                rule.storage_class_transitions.push(ClassTransition {
                    condition,
                    storage_class: class.word().to_owned(),
                });
            }
            _ => return Err(unknown(&path)),
        }
    }
    rule.enabled = match status.as_deref() {
        Some("Enabled") => true,
        Some("Disabled") => false,
        _ => return Err(malformed("A rule's `Status` is `Enabled` or `Disabled`.")),
    };
    Ok(rule)
}

/// `Days`, or `Date`.
fn condition(path: &str, text: String) -> Result<When, S3Error> {
    if path.ends_with("Date") {
        return Ok(When::Date { date: text });
    }
    let days: u32 = number(path, &text)?;
    if days == 0 {
        return Err(malformed(format!("`{path}` is a number of days above 0.")));
    }
    Ok(When::Age {
        max_age: u64::from(days) * DAY,
    })
}

fn number(path: &str, text: &str) -> Result<u32, S3Error> {
    let number = text.trim().parse();
    number.map_err(|_| malformed(format!("`{path}` is not a number: `{text}`.")))
}

fn write_lifecycle(xml: &mut Xml, rule: &LifecycleRule) {
    xml.text("ID", &rule.id);
    xml.within("Filter", |xml| {
        xml.text("Prefix", rule.conditions.prefix.as_deref().unwrap_or(""));
    });
    let status = if rule.enabled { "Enabled" } else { "Disabled" };
    xml.text("Status", status);
    if let Some(Transition { condition }) = &rule.delete_objects_transition {
        xml.within("Expiration", |xml| write_when(xml, condition, "Days"));
    }
    if let Some(Transition { condition }) = &rule.abort_multipart_uploads_transition {
        xml.within("AbortIncompleteMultipartUpload", |xml| {
            write_when(xml, condition, "DaysAfterInitiation");
        });
    }
    for one in &rule.storage_class_transitions {
        xml.within("Transition", |xml| {
            write_when(xml, &one.condition, "Days");
            let class = StorageClass::parse(&one.storage_class).unwrap_or_default();
            xml.text("StorageClass", class.s3_word());
        });
    }
}

/// Ages that R2's API has set in seconds are told in days that have begun.
fn write_when(xml: &mut Xml, when: &When, days: &str) {
    match when {
        When::Age { max_age } => xml.text(days, max_age.div_ceil(DAY)),
        When::Date { date } if date.len() == "2026-11-30".len() => {
            xml.text("Date", format!("{date}T00:00:00Z"))
        }
        When::Date { date } => xml.text("Date", date),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle(inside: &str) -> Result<Vec<LifecycleRule>, S3Error> {
        let document = format!("<LifecycleConfiguration>{inside}</LifecycleConfiguration>");
        lifecycle_rules(&leaves(document.as_bytes())?)
    }

    const RULE: &str = "<Rule><ID>old</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>\
        <Expiration><Days>30</Days></Expiration>\
        <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
        <Transition><Days>10</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule>";

    #[test]
    fn what_is_written_is_what_was_read() {
        let rules = lifecycle(RULE).unwrap();
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        let age = |days| When::Age {
            max_age: days * DAY,
        };
        assert_eq!(rule.conditions.prefix.as_deref(), Some("logs/"));
        let delete = rule.delete_objects_transition.as_ref().unwrap();
        assert_eq!(delete.condition, age(30));
        let [class] = rule.storage_class_transitions.as_slice() else {
            panic!("{rule:?}")
        };
        assert_eq!(class.condition, age(10));
        assert_eq!(class.storage_class, "InfrequentAccess");
        let mut xml = Xml::new("LifecycleConfiguration", Some(NAMESPACE));
        xml.within("Rule", |xml| write_lifecycle(xml, rule));
        let again = lifecycle_rules(&leaves(xml.finish().as_bytes()).unwrap()).unwrap();
        assert_eq!(again, rules);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_name() {
        for (from, to, code) in [
            (
                "<Prefix>logs/</Prefix>",
                "<Tag><Key>a</Key><Value>b</Value></Tag>",
                "NotImplemented",
            ),
            ("STANDARD_IA", "GLACIER", "NotImplemented"),
            ("<Days>30</Days>", "<Days>0</Days>", "MalformedXML"),
            ("<Days>30</Days>", "<Days>x</Days>", "MalformedXML"),
            ("Enabled", "On", "MalformedXML"),
            ("<Days>10</Days>", "", "MalformedXML"),
            (
                "<Days>30</Days>",
                "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>",
                "NotImplemented",
            ),
        ] {
            let refused = lifecycle(&RULE.replace(from, to)).unwrap_err();
            assert_eq!(refused.told().1, code, "{to}");
        }
        assert_eq!(lifecycle("").unwrap_err().told().1, "MalformedXML");
    }

    #[test]
    fn pages_of_other_origins() {
        let document = "<CORSConfiguration><CORSRule><AllowedOrigin>https://a.example</AllowedOrigin>\
            <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader>\
            <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>";
        let rules = cors_rules(&leaves(document.as_bytes()).unwrap()).unwrap();
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        assert!(rule.allows("https://a.example", "PUT") && rule.allows_header("x-own"));
        assert_eq!(rule.max_age_seconds, Some(60));
        let mut xml = Xml::new("CORSConfiguration", Some(NAMESPACE));
        xml.within("CORSRule", |xml| write_cors(xml, rule));
        let again = cors_rules(&leaves(xml.finish().as_bytes()).unwrap()).unwrap();
        assert_eq!(again, rules);
    }
}
