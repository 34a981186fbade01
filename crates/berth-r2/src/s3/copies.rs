//! Copies: of objects at once, of parts by their bytes.

use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _};
use percent_encoding::percent_decode_str;

use super::error::S3Error;
use super::metadata::{conditions, metadata, xml_time};
use super::xml::{NAMESPACE, Xml};
use super::{Call, Service};
use crate::range::Range;
use crate::store::{Body, BodyError, Found};
use crate::{Object, R2Error, Sums};

/// What conditions on the source begin with.
const SOURCE: &str = "x-amz-copy-source-";

impl Call {
    /// Bucket and key of what is copied.
    fn source(&self) -> Result<(String, String), S3Error> {
        let bad = || {
            let text = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
            S3Error::bad("InvalidArgument", text)
        };
        let header = self.head.header("x-amz-copy-source").ok_or_else(bad)?;
        // There are no versions here; the present one is as good as named.
        let header = header
            .split_once("?versionId=")
            .map_or(header, |(name, _)| name);
        let decoded = percent_decode_str(header)
            .decode_utf8()
            .map_err(|_| bad())?;
        let name = decoded.strip_prefix('/').unwrap_or(&decoded);
        let (bucket, key) = name.split_once('/').ok_or_else(bad)?;
        if bucket.is_empty() || key.is_empty() {
            return Err(bad());
        }
        if !self.key.reaches(bucket) {
            return Err(S3Error::denied("Access Denied"));
        }
        Ok((bucket.to_owned(), key.to_owned()))
    }
}

impl Service {
    pub(super) async fn copy_object(&self, call: &Call) -> Result<Response, S3Error> {
        let (bucket, key) = call.source()?;
        let to = self.store.bucket(call.head.bucket()).await?;
        let replace = match call.head.header("x-amz-metadata-directive") {
            None | Some("COPY") => false,
            Some("REPLACE") => true,
            Some(other) => {
                let text = format!("Unknown metadata directive: {other}");
                return Err(S3Error::bad("InvalidArgument", text));
            }
        };
        let metadata = if replace {
            Some(metadata(&call.head, to.class)?)
        } else if call.head.header("x-amz-storage-class").is_some() {
            let source = self.store.head(&bucket, &key).await?;
            let class = metadata(&call.head, to.class)?.class;
            Some(crate::Metadata {
                class,
                ..source.metadata
            })
        } else {
            None
        };
        let conditions = conditions(&call.head, SOURCE);
        let target = (call.head.bucket(), call.head.key());
        let copied = self
            .store
            .copy((&bucket, &key), target, conditions, metadata);
        let object = copied.await?;
        Ok(told("CopyObjectResult", &object.etag, object.uploaded))
    }

    pub(super) async fn copy_part(
        &self,
        call: &Call,
        number: u32,
        id: &str,
    ) -> Result<Response, S3Error> {
        let (bucket, key) = call.source()?;
        let range = match call.head.header("x-amz-copy-source-range") {
            Some(range) => Range::parse(range).ok_or_else(|| {
                let text = "The x-amz-copy-source-range value must be of the form bytes=first-last";
                S3Error::bad("InvalidArgument", text)
            })?,
            None => Range::All,
        };
        let conditions = conditions(&call.head, SOURCE);
        let found = self.store.get(&bucket, &key, conditions, range).await?;
        let (size, stream) = match found {
            Found::Whole(_, range, stream) => (range.length, stream),
            Found::Unmet { object, .. } => return Err(unmet(object)),
        };
        let broken = |failure: crate::Failure| BodyError::Broken(berth_error::chain(&failure));
        let body: Body = stream.map_err(broken).boxed();
        let upload = (call.head.bucket(), call.head.key(), id);
        let sums = Sums::default();
        let stored = self.store.put_part(upload, number, Some(size), sums, body);
        let part = stored.await?;
        Ok(told("CopyPartResult", &part.etag, part.uploaded))
    }
}

fn unmet(object: Box<Object>) -> S3Error {
    R2Error::Precondition(Some(object)).into()
}

fn told(root: &'static str, etag: &str, time: u64) -> Response {
    let mut xml = Xml::new(root, Some(NAMESPACE));
    xml.text("LastModified", xml_time(time));
    xml.text("ETag", format!("\"{etag}\""));
    xml.response()
}
