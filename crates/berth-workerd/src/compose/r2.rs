//! R2 buckets: each is a service, which is Berth's own at a Unix socket. Which bucket is meant a header
//! says that workerd sets; a Worker cannot.

use std::collections::BTreeSet;

use super::Context;
use crate::capnp::{Capnp, record};

/// The header; `berth-r2` reads it under the same name.
const BUCKET_HEADER: &str = "berth-r2-bucket";

/// The service of a bucket.
pub(super) fn service_of(bucket: &str) -> String {
    format!("berth:r2:{bucket}")
}

/// One for each bucket that the Worker has, however many bindings lead to it.
pub(super) fn services(context: &Context<'_>) -> Vec<Capnp> {
    let buckets = context.project.r2_buckets.iter();
    let buckets: BTreeSet<&str> = buckets.map(|it| it.bucket_name.as_str()).collect();
    let address = format!("unix:{}", context.options.r2.display());
    buckets
        .into_iter()
        .map(|bucket| {
            let header = record([("name", BUCKET_HEADER.into()), ("value", bucket.into())]);
            let http = record([("injectRequestHeaders", Capnp::List(vec![header]))]);
            let external = record([("address", address.as_str().into()), ("http", http)]);
            record([
                ("name", service_of(bucket).as_str().into()),
                ("external", external),
            ])
        })
        .collect()
}
