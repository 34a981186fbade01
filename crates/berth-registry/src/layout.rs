//! What the storage's keys mean.
//!
//! ```text
//! repositories/<name>/_blobs/<digest>                  this repository has the blob (empty record)
//! repositories/<name>/_manifests/<digest>              a manifest: one line of JSON, then its bytes
//! repositories/<name>/_referrers/<subject>/<digest>    descriptor of a manifest with this subject
//! repositories/<name>/_tags/<tag>                      the digest it names
//! repositories/<name>/_untagged/<digest>               its last tag was deleted (empty record)
//! catalog/<name, `+` for `/`>                          there may be such a repository (empty record)
//! collector/intents/<id>                               what a manifest that is being put needs
//! collector/pending/<id>                               what a collector is about to remove
//! ```
//!
//! `<digest>` is written with a dash. Parts of repository names never begin with `_`.

use crate::digest::Digest;
use crate::names::{RepositoryName, Tag};

pub(crate) const CATALOG: &str = "catalog";
pub(crate) const INTENTS: &str = "collector/intents";
pub(crate) const PENDING: &str = "collector/pending";

pub(crate) fn links(repository: &RepositoryName) -> String {
    format!("repositories/{repository}/_blobs")
}

pub(crate) fn link(repository: &RepositoryName, digest: &Digest) -> String {
    format!("{}/{}", links(repository), digest.key())
}

pub(crate) fn manifests(repository: &RepositoryName) -> String {
    format!("repositories/{repository}/_manifests")
}

pub(crate) fn manifest(repository: &RepositoryName, digest: &Digest) -> String {
    format!("{}/{}", manifests(repository), digest.key())
}

pub(crate) fn referrers(repository: &RepositoryName, subject: &Digest) -> String {
    format!("repositories/{repository}/_referrers/{}", subject.key())
}

pub(crate) fn referrer(repository: &RepositoryName, subject: &Digest, digest: &Digest) -> String {
    format!("{}/{}", referrers(repository, subject), digest.key())
}

pub(crate) fn tags(repository: &RepositoryName) -> String {
    format!("repositories/{repository}/_tags")
}

pub(crate) fn tag(repository: &RepositoryName, tag: &Tag) -> String {
    format!("{}/{tag}", tags(repository))
}

pub(crate) fn untagged(repository: &RepositoryName, digest: &Digest) -> String {
    format!("repositories/{repository}/_untagged/{}", digest.key())
}

pub(crate) fn catalog(repository: &RepositoryName) -> String {
    format!("{CATALOG}/{}", repository.as_str().replace('/', "+"))
}

pub(crate) fn catalogued(name: &str) -> Option<RepositoryName> {
    RepositoryName::parse(&name.replace('+', "/"))
}
