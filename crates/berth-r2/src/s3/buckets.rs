//! Buckets, and what may be asked of them.

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode};

use super::error::S3Error;
use super::metadata::xml_time;
use super::xml::{NAMESPACE, Xml};
use super::{Call, Service};
use crate::StorageClass;

/// Where every bucket is, as R2 says it.
const REGION: &str = "auto";
const OWNER: &str = "berth";

/// That everything is its owner's.
pub(super) fn private() -> Response {
    let mut xml = Xml::new("AccessControlPolicy", Some(NAMESPACE));
    let owner = |xml: &mut Xml| {
        xml.text("ID", OWNER).text("DisplayName", OWNER);
    };
    xml.within("Owner", owner);
    xml.within("AccessControlList", |xml| {
        xml.within("Grant", |xml| {
            // An attribute's prefix is declared where it is used.
            xml.within(
                "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"",
                owner,
            );
            xml.text("Permission", "FULL_CONTROL");
        });
    });
    xml.response()
}

impl Service {
    pub(super) async fn list_buckets(&self, call: &Call) -> Result<Response, S3Error> {
        let buckets = self.store.buckets().await?;
        let mut xml = Xml::new("ListAllMyBucketsResult", Some(NAMESPACE));
        xml.within("Owner", |xml| {
            xml.text("ID", OWNER).text("DisplayName", OWNER);
        });
        xml.within("Buckets", |xml| {
            for bucket in buckets.iter().filter(|it| call.key.reaches(&it.name)) {
                xml.within("Bucket", |xml| {
                    xml.text("Name", &bucket.name);
                    xml.text("CreationDate", xml_time(bucket.created));
                });
            }
        });
        Ok(xml.response())
    }

    pub(super) async fn head_bucket(&self, call: &Call) -> Result<Response, S3Error> {
        self.store.bucket(call.head.bucket()).await?;
        let mut response = Response::default();
        let region = HeaderValue::from_static(REGION);
        response.headers_mut().insert("x-amz-bucket-region", region);
        Ok(response)
    }

    /// Where it is to be is not asked: there is one place.
    pub(super) async fn create_bucket(
        &self,
        call: Call,
        body: HttpBody,
    ) -> Result<Response, S3Error> {
        let Call { head, payload, .. } = call;
        let document = payload.collect(body).await?;
        if !document.is_empty() {
            super::xml::leaves(&document)?;
        }
        self.store
            .create_bucket(head.bucket(), StorageClass::default())
            .await?;
        let mut response = Response::default();
        if let Ok(location) = HeaderValue::from_str(&format!("/{}", head.bucket())) {
            response
                .headers_mut()
                .insert(http::header::LOCATION, location);
        }
        Ok(response)
    }

    pub(super) async fn delete_bucket(&self, call: &Call) -> Result<Response, S3Error> {
        self.store.delete_bucket(call.head.bucket()).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) async fn bucket_setting(
        &self,
        call: &Call,
        name: &str,
    ) -> Result<Response, S3Error> {
        self.store.bucket(call.head.bucket()).await?;
        let none = |code, what: &str| {
            let text = format!("The bucket has no {what}.");
            Err(S3Error::missing(code, text))
        };
        match name {
            "location" => {
                let mut xml = Xml::new("LocationConstraint", Some(NAMESPACE));
                xml.value(REGION);
                Ok(xml.response())
            }
            "versioning" => Ok(Xml::new("VersioningConfiguration", Some(NAMESPACE)).response()),
            "acl" => Ok(private()),
            "cors" => self.cors(call.head.bucket()).await,
            "lifecycle" => self.lifecycle(call.head.bucket()).await,
            "policy" => none("NoSuchBucketPolicy", "policy"),
            "tagging" => none("NoSuchTagSet", "tags"),
            "website" => none("NoSuchWebsiteConfiguration", "website"),
            "publicAccessBlock" => none(
                "NoSuchPublicAccessBlockConfiguration",
                "public access block",
            ),
            "ownershipControls" => none("OwnershipControlsNotFoundError", "ownership controls"),
            _ => Err(S3Error::not_implemented(&call.head)),
        }
    }
}
