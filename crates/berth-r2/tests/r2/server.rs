//! Both faces of a store, in a process that tests can kill: `<directory> <socket> [<bucket endpoint>]`.
#![allow(clippy::expect_used, reason = "test code")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use berth_r2::binding::{self, Unmade};
use berth_r2::s3::{self, AccessKey, Keys, Permission, S3Options};
use berth_r2::{Bucket, BucketOptions, R2};
use tokio_util::sync::CancellationToken;

struct Fixed;

impl Keys for Fixed {
    fn key(&self, id: &str) -> Result<Option<AccessKey>, String> {
        let permission = match id {
            "admin" => Permission::Admin,
            "writer" => Permission::ObjectReadWrite,
            "reader" => Permission::ObjectRead,
            _ => return Ok(None),
        };
        Ok(Some(AccessKey {
            id: id.to_owned(),
            secret: format!("secret of {id}"),
            permission,
            buckets: (permission != Permission::Admin).then(|| vec!["bucket".to_owned()]),
        }))
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (directory, socket) = (Path::new(&arguments[1]), Path::new(&arguments[2]));
    let store = match arguments.get(3) {
        Some(endpoint) => {
            let bucket = Bucket::open(&BucketOptions {
                name: "bytes".to_owned(),
                prefix: "r2".to_owned(),
                endpoint: Some(endpoint.clone()),
            });
            R2::with_blobs(directory, Arc::new(bucket.expect("a bucket")))
        }
        None => R2::open(directory),
    };
    let store = store.expect("a store");
    store.sweep().await.expect("a clean store");
    let stop = CancellationToken::new();
    let serving = binding::serve(store.clone(), socket, Unmade::Made, stop).expect("a socket");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let options = S3Options {
        domains: vec!["s3.localhost".to_owned()],
    };
    let router = s3::router(store, Arc::new(Fixed), options);
    writeln!(std::io::stdout(), "{address}").expect("a reader");
    let served = tokio::join!(async { axum::serve(listener, router).await }, serving);
    served.0.expect("served");
}
