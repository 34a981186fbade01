//! Uploads in parts.

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, StatusCode};

use super::error::S3Error;
use super::metadata::{
    checksum_of_word, checksum_word, conditions, expected, metadata, number, put_sums, unquoted,
    xml_time,
};
use super::xml::{NAMESPACE, Xml, each, encoded, leaves};
use super::{Call, Service};
use crate::store::NewUpload;
use crate::{Part, R2Error, Upload};

/// Entries of a page.
const MOST_LISTED: u64 = 1000;

impl Call {
    /// Bucket, key and upload.
    fn upload(&self) -> (&str, &str, &str) {
        let id = self.head.query("uploadId").unwrap_or_default();
        (self.head.bucket(), self.head.key(), id)
    }
}

fn most(limit: Option<u64>) -> usize {
    usize::try_from(limit.unwrap_or(MOST_LISTED).min(MOST_LISTED)).unwrap_or(0)
}

impl Service {
    pub(super) async fn create_upload(&self, call: &Call) -> Result<Response, S3Error> {
        let bucket = self.store.bucket(call.head.bucket()).await?;
        let metadata = metadata(&call.head, bucket.class)?;
        let algorithm = call.head.header("x-amz-checksum-algorithm");
        let algorithm = algorithm.map(checksum_of_word).transpose()?;
        let upload = self
            .store
            .create_upload(&bucket.name, call.head.key(), metadata, algorithm)
            .await?;
        let mut xml = Xml::new("InitiateMultipartUploadResult", Some(NAMESPACE));
        xml.text("Bucket", &bucket.name).text("Key", &upload.key);
        xml.text("UploadId", &upload.id);
        let mut response = xml.response();
        if let Some(word) = algorithm.and_then(checksum_word) {
            let headers = response.headers_mut();
            headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static(word));
        }
        Ok(response)
    }

    pub(super) async fn upload_part(
        &self,
        call: Call,
        body: HttpBody,
    ) -> Result<Response, S3Error> {
        let part = number(&call.head, "partNumber")?;
        let part = part.and_then(|number| u32::try_from(number).ok());
        let part = part.ok_or_else(|| {
            S3Error::from(R2Error::Argument("A part number is needed.".to_owned()))
        })?;
        if call.head.header("x-amz-copy-source").is_some() {
            let (_, _, id) = call.upload();
            return self.copy_part(&call, part, id).await;
        }
        let expected = expected(&call.head)?;
        let size = call.payload.size(&call.head);
        let Call { head, payload, .. } = call;
        let id = head.query("uploadId").unwrap_or_default();
        let upload = (head.bucket(), head.key(), id);
        let body = payload.open(body);
        let stored = self.store.put_part(upload, part, size, expected, body);
        let Part { etag, sums, .. } = stored.await?;
        let mut response = Response::default();
        let headers = response.headers_mut();
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
            headers.insert(http::header::ETAG, etag);
        }
        put_sums(headers, &sums);
        headers.remove("x-amz-checksum-type");
        Ok(response)
    }

    pub(super) async fn complete_upload(
        &self,
        call: Call,
        body: HttpBody,
    ) -> Result<Response, S3Error> {
        let Call { head, payload, .. } = call;
        let document = payload.collect(body).await?;
        let mut parts = Vec::new();
        for part in each(&leaves(&document)?, "Part") {
            let text = |name: &str| {
                let found = part.iter().find(|(key, _)| key == name);
                found.map(|(_, text)| text.trim())
            };
            let number = text("PartNumber").and_then(|number| number.parse().ok());
            let (Some(number), Some(etag)) = (number, text("ETag")) else {
                let text = "Each part needs a PartNumber and an ETag.";
                return Err(S3Error::bad("MalformedXML", text));
            };
            parts.push((number, unquoted(etag).to_owned()));
        }
        // A checksum of the parts' checksums is none of the bytes.
        let composite = head.header("x-amz-checksum-type") == Some("COMPOSITE");
        let new = NewUpload {
            parts,
            same_size: false,
            expected: if composite {
                crate::Sums::default()
            } else {
                expected(&head)?
            },
            conditions: conditions(&head, ""),
        };
        let id = head.query("uploadId").unwrap_or_default();
        let upload = (head.bucket(), head.key(), id);
        let object = self.store.complete_upload(upload, new).await?;
        let host = head.header("host").unwrap_or_default();
        let mut xml = Xml::new("CompleteMultipartUploadResult", Some(NAMESPACE));
        xml.text("Location", format!("http://{host}{}", head.raw_path));
        xml.text("Bucket", head.bucket()).text("Key", &object.key);
        xml.text("ETag", format!("\"{}\"", object.etag));
        for (algorithm, sum) in &object.sums.0 {
            if let Some(word) = checksum_word(*algorithm) {
                xml.text(&format!("Checksum{word}"), BASE64_STANDARD.encode(sum));
                xml.text("ChecksumType", "FULL_OBJECT");
            }
        }
        Ok(xml.response())
    }

    pub(super) async fn abort_upload(&self, call: &Call) -> Result<Response, S3Error> {
        self.store.abort_upload(call.upload()).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) async fn list_parts(&self, call: &Call) -> Result<Response, S3Error> {
        let after = number(&call.head, "part-number-marker")?.unwrap_or(0);
        let after = u32::try_from(after).unwrap_or(u32::MAX);
        let most = most(number(&call.head, "max-parts")?);
        let (upload, mut parts) = self.store.parts(call.upload(), after, most + 1).await?;
        let truncated = parts.len() > most;
        parts.truncate(most);
        let mut xml = Xml::new("ListPartsResult", Some(NAMESPACE));
        xml.text("Bucket", call.head.bucket())
            .text("Key", &upload.key);
        xml.text("UploadId", &upload.id)
            .text("PartNumberMarker", after);
        if let Some(last) = parts.last() {
            xml.text("NextPartNumberMarker", last.number);
        }
        xml.text("MaxParts", most).text("IsTruncated", truncated);
        xml.text("StorageClass", upload.metadata.class.s3_word());
        for part in &parts {
            xml.within("Part", |xml| {
                xml.text("PartNumber", part.number);
                xml.text("LastModified", xml_time(part.uploaded));
                xml.text("ETag", format!("\"{}\"", part.etag));
                xml.text("Size", part.size);
            });
        }
        Ok(xml.response())
    }

    pub(super) async fn list_uploads(&self, call: &Call) -> Result<Response, S3Error> {
        let query = |name: &str| call.head.query(name).unwrap_or_default();
        let prefix = query("prefix");
        let encode = query("encoding-type") == "url";
        let shown = |text: &str| {
            if encode {
                encoded(text)
            } else {
                text.to_owned()
            }
        };
        let most = most(number(&call.head, "max-uploads")?);
        let (key, id) = (query("key-marker"), query("upload-id-marker"));
        // Without an upload the marker is after all of its key.
        let place = if id.is_empty() && !key.is_empty() {
            (key, "\u{10ffff}")
        } else {
            (key, id)
        };
        let mut found: Vec<Upload> = Vec::new();
        let mut place = (place.0.to_owned(), place.1.to_owned());
        loop {
            let page = self
                .store
                .uploads(call.head.bucket(), (&place.0, &place.1), most + 1)
                .await?;
            let last = page
                .last()
                .map(|upload| (upload.key.clone(), upload.id.clone()));
            let ended = page.len() <= most;
            found.extend(page.into_iter().filter(|it| it.key.starts_with(prefix)));
            match last {
                Some(last) if !ended && found.len() <= most => place = last,
                _ => break,
            }
        }
        let truncated = found.len() > most;
        found.truncate(most);
        let mut xml = Xml::new("ListMultipartUploadsResult", Some(NAMESPACE));
        xml.text("Bucket", call.head.bucket());
        xml.text("KeyMarker", shown(key)).text("UploadIdMarker", id);
        xml.text("Prefix", shown(prefix)).text("MaxUploads", most);
        if encode {
            xml.text("EncodingType", "url");
        }
        xml.text("IsTruncated", truncated);
        if let Some(last) = found.last().filter(|_| truncated) {
            xml.text("NextKeyMarker", shown(&last.key));
            xml.text("NextUploadIdMarker", &last.id);
        }
        for upload in &found {
            xml.within("Upload", |xml| {
                xml.text("Key", shown(&upload.key))
                    .text("UploadId", &upload.id);
                xml.text("StorageClass", upload.metadata.class.s3_word());
                xml.text("Initiated", xml_time(upload.created));
            });
        }
        Ok(xml.response())
    }
}
