//! What is known about an object, and about an upload on its way to become one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Sums};

/// What a client says with the bytes of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Headers that it is served with.
    pub http: HttpMetadata,
    /// The client's own.
    pub custom: BTreeMap<String, String>,
    /// How it is paid for, elsewhere; here it is only remembered.
    pub class: StorageClass,
}

/// Headers that an object is served with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMetadata {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_expiry: Option<u64>,
}

/// R2's storage classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageClass {
    /// For what is read often.
    #[default]
    Standard,
    /// For what is read seldom.
    InfrequentAccess,
}

impl StorageClass {
    /// As R2 has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "InfrequentAccess",
        }
    }

    /// As S3 has it.
    pub fn s3_word(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::InfrequentAccess => "STANDARD_IA",
        }
    }

    /// Of either word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Standard, Self::InfrequentAccess]
            .into_iter()
            .find(|class| class.word() == word || class.s3_word() == word)
    }
}

/// An object, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name in the bucket.
    pub key: String,
    /// Another one for each write.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes: MD5 in hexadecimal, or that of the parts' and their number.
    pub etag: String,
    /// Milliseconds since 1970.
    pub uploaded: u64,
    /// What its writer said with it.
    pub metadata: Metadata,
    /// Those that are known of all its bytes.
    pub sums: Sums,
}

/// An upload in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Names it.
    pub id: String,
    /// Of the object that is to be.
    pub key: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Of the object that is to be.
    pub metadata: Metadata,
    /// Computed of every part.
    pub algorithm: Option<Algorithm>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Without quotes: MD5 in hexadecimal.
    pub etag: String,
    /// Milliseconds since 1970.
    pub uploaded: u64,
    /// Those that are known.
    pub sums: Sums,
}
