//! Pages of keys, in both versions of the call.

use axum::response::Response;

use super::error::S3Error;
use super::metadata::{number, xml_time};
use super::xml::{NAMESPACE, Xml, encoded};
use super::{Call, Service};
use crate::list::{ListOptions, Listing, Position};

/// Of a page.
const MOST: u64 = 1000;

impl Service {
    pub(super) async fn list_objects(&self, call: &Call) -> Result<Response, S3Error> {
        let query = |name: &str| call.head.query(name).filter(|value| !value.is_empty());
        let second = query("list-type") == Some("2");
        let prefix = query("prefix").unwrap_or_default();
        let delimiter = query("delimiter");
        let most = number(&call.head, "max-keys")?.unwrap_or(MOST).min(MOST);
        let start = query(if second { "start-after" } else { "marker" });
        let mut after = start.map(|start| first(start, prefix, delimiter, second));
        if let Some(token) = query("continuation-token").filter(|_| second) {
            let position = Position::from_cursor(token).ok_or_else(|| {
                let text = "The continuation token provided is incorrect";
                S3Error::bad("InvalidArgument", text)
            })?;
            after = Some(position);
        }
        let page = if most == 0 {
            self.store.bucket(call.head.bucket()).await?;
            Listing::default()
        } else {
            let options = ListOptions {
                prefix: prefix.to_owned(),
                delimiter: delimiter.map(str::to_owned),
                after,
                ..ListOptions::default()
            };
            let options = options.limited(Some(most))?;
            self.store.list(call.head.bucket(), options).await?
        };
        let encode = query("encoding-type") == Some("url");
        let shown = |text: &str| {
            if encode {
                encoded(text)
            } else {
                text.to_owned()
            }
        };
        let mut xml = Xml::new("ListBucketResult", Some(NAMESPACE));
        xml.text("Name", call.head.bucket())
            .text("Prefix", shown(prefix));
        if let Some(delimiter) = delimiter {
            xml.text("Delimiter", shown(delimiter));
        }
        xml.text("MaxKeys", most);
        if encode {
            xml.text("EncodingType", "url");
        }
        xml.text("IsTruncated", page.next.is_some());
        if second {
            xml.text("KeyCount", page.objects.len() + page.prefixes.len());
            if let Some(start) = start {
                xml.text("StartAfter", shown(start));
            }
            if let Some(token) = query("continuation-token") {
                xml.text("ContinuationToken", token);
            }
            if let Some(next) = &page.next {
                xml.text("NextContinuationToken", next.cursor());
            }
        } else {
            xml.text("Marker", shown(start.unwrap_or_default()));
            if let Some(Position::Key(next) | Position::Prefix(next)) = &page.next {
                xml.text("NextMarker", shown(next));
            }
        }
        let owner = !second || query("fetch-owner") == Some("true");
        contents(&mut xml, &page, owner, shown);
        Ok(xml.response())
    }
}

/// Where a page begins that is after a key of the client's. A marker that is a group of keys is after
/// all of the group: it is what the page before ended with.
fn first(start: &str, prefix: &str, delimiter: Option<&str>, second: bool) -> Position {
    let group = delimiter.is_some_and(|delimiter| {
        let rest = start.strip_prefix(prefix).unwrap_or_default();
        rest.find(delimiter) == rest.len().checked_sub(delimiter.len())
    });
    if group && !second {
        Position::Prefix(start.to_owned())
    } else {
        Position::Key(start.to_owned())
    }
}

fn contents(xml: &mut Xml, page: &Listing, owner: bool, shown: impl Fn(&str) -> String) {
    for object in &page.objects {
        xml.within("Contents", |xml| {
            xml.text("Key", shown(&object.key));
            xml.text("LastModified", xml_time(object.uploaded));
            xml.text("ETag", format!("\"{}\"", object.etag));
            xml.text("Size", object.size);
            xml.text("StorageClass", object.metadata.class.s3_word());
            if owner {
                xml.within("Owner", |xml| {
                    xml.text("ID", "berth").text("DisplayName", "berth");
                });
            }
        });
    }
    for prefix in &page.prefixes {
        xml.within("CommonPrefixes", |xml| {
            xml.text("Prefix", shown(prefix));
        });
    }
}
