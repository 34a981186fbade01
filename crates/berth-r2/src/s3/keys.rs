//! Who may do what.

use std::fmt;

use http::Method;
use serde::{Deserialize, Serialize};

use super::error::S3Error;
use super::head::Head;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Buckets too, and what is set for them.
    Admin,
    /// Objects.
    ObjectReadWrite,
    /// Reading objects and listing them.
    ObjectRead,
}

/// A key with its secret.
#[derive(Clone)]
pub struct AccessKey {
    /// Names it.
    pub id: String,
    /// What requests are signed with.
    pub secret: String,
    /// What it allows.
    pub permission: Permission,
    /// In which buckets; `None`: in all.
    pub buckets: Option<Vec<String>>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who knows the keys.
pub trait Keys: Send + Sync + 'static {
    /// The key of this name. May wait for the disk.
    ///
    /// # Errors
    /// It is not known whether there is one.
    fn key(&self, id: &str) -> Result<Option<AccessKey>, String>;
}

impl AccessKey {
    /// Whether it reaches this bucket.
    pub(super) fn reaches(&self, bucket: &str) -> bool {
        let named = self.buckets.as_ref();
        named.is_none_or(|named| named.iter().any(|name| name == bucket))
    }

    /// Whether it allows this request, and from which bucket it may copy is [`AccessKey::reaches`].
    pub(super) fn may(&self, head: &Head) -> Result<(), S3Error> {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let deletes_objects = head.method == Method::POST && head.subresource() == Some("delete");
        let of_objects = head.key.is_some() || deletes_objects;
        let allowed = match self.permission {
            Permission::Admin => true,
            Permission::ObjectReadWrite => reads || of_objects,
            Permission::ObjectRead => reads,
        };
        let bucket = head.bucket.as_deref();
        if allowed && bucket.is_none_or(|bucket| self.reaches(bucket)) {
            return Ok(());
        }
        Err(S3Error::denied("Access Denied"))
    }
}
