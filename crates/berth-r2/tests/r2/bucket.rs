//! Bytes in a bucket: against moto, a stand-in for S3 that pip installs.

use berth_test::Moto;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt as _, PutPayload};

use crate::support::{Server, bytes, provider};

#[tokio::test]
async fn bytes_are_in_the_bucket_and_whole_wherever_the_server_dies() {
    provider();
    let s3 = Moto::start("bytes").await;
    let (directory, crash) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    {
        let store = berth_r2::R2::open(directory.path()).unwrap();
        store
            .create_bucket("bucket", Default::default())
            .await
            .unwrap();
    }
    let start = || Server::start(directory.path(), Some(crash.path()), Some(s3.endpoint()));
    let key = Key::from("key");
    let mut expected = Vec::new();
    // The larger one goes there in parts.
    for (point, size) in [
        ("", 1000),
        ("r2.bucket.written", 20 << 20),
        ("r2.bucket.finished", 9 << 20),
    ] {
        let server = start();
        let client = server.client("writer", "bucket");
        let content = bytes(size as u64, size);
        if !point.is_empty() {
            std::fs::write(crash.path().join(point), "").unwrap();
        }
        let payload = PutPayload::from(content.clone());
        let done = client.put(&key, payload.clone()).await.is_ok();
        if point.is_empty() {
            assert!(done);
            expected = content;
        } else {
            assert!(!done, "{point}");
            server.dead();
            let server = start();
            let client = server.client("writer", "bucket");
            let found = client.get(&key).await.unwrap().bytes().await.unwrap();
            assert!(found == expected, "{point}");
            assert_eq!(s3.keys().await.len(), 1, "{point}: swept");
            client.put(&key, payload).await.unwrap();
            expected = content;
            let range = client.get_range(&key, 5_000_000..8_500_000).await.unwrap();
            assert!(range == expected[5_000_000..8_500_000]);
        }
    }
    let server = start();
    server
        .client("writer", "bucket")
        .delete(&key)
        .await
        .unwrap();
    for _ in 0..500 {
        if s3.keys().await.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the bytes are still there");
}
