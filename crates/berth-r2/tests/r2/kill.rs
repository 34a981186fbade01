//! The server dies at every step of a write. What a key names is whole afterwards, old or new, and
//! nothing else is left.

use berth_r2::CRASH_POINTS;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload as _, ObjectStoreExt as _, PutPayload};

use crate::support::{Server, bytes, files, provider};

async fn make_bucket(server: &Server) {
    // Through the other face: a bucket that is not there is made there.
    let socket = tokio::net::UnixStream::connect(&server.socket)
        .await
        .unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = socket;
    let request = "GET / HTTP/1.1\r\nhost: fake-host\r\nconnection: close\r\nberth-r2-bucket: bucket\r\ncf-r2-request: {\"version\":1,\"method\":\"list\"}\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Writes an object at once. Whether the server said so.
async fn put(server: &Server, content: &[u8]) -> bool {
    let client = server.client("writer", "bucket");
    let payload = PutPayload::from_bytes(Bytes::copy_from_slice(content));
    client.put(&Path::from("key"), payload).await.is_ok()
}

/// Writes it in parts.
async fn upload(server: &Server, content: &[u8]) -> bool {
    let client = server.client("writer", "bucket");
    let Ok(mut upload) = client.put_multipart(&Path::from("key")).await else {
        return false;
    };
    for part in content.chunks(5 << 20) {
        let payload = PutPayload::from_bytes(Bytes::copy_from_slice(part));
        if upload.put_part(payload).await.is_err() {
            return false;
        }
    }
    upload.complete().await.is_ok()
}

async fn get(server: &Server) -> Vec<u8> {
    let client = server.client("reader", "bucket");
    let found = client.get(&Path::from("key")).await.unwrap();
    found.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_object_is_whole_wherever_the_server_dies() {
    provider();
    let crash = tempfile::tempdir().unwrap();
    let (small, large) = (bytes(5, 600_000), bytes(6, (5 << 20) + 1000));
    let mut died = 0;
    let points = CRASH_POINTS
        .iter()
        .filter(|point| !point.starts_with("r2.bucket"));
    for point in points {
        for in_parts in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let server = Server::start(directory.path(), Some(crash.path()), None);
            make_bucket(&server).await;
            assert!(put(&server, b"old").await);
            std::fs::write(crash.path().join(point), "").unwrap();
            let content = if in_parts { &large } else { &small };
            let done = if in_parts {
                upload(&server, content).await
            } else {
                put(&server, content).await
            };
            let armed = std::fs::remove_file(crash.path().join(point)).is_ok();
            if armed {
                assert!(done, "{point} was not reached, and yet it failed");
                continue;
            }
            died += 1;
            server.dead();
            let server = Server::start(directory.path(), None, None);
            let found = get(&server).await;
            assert!(found == b"old" || found == *content, "{point}: torn");
            assert!(
                !done || found == *content,
                "{point}: what was answered is lost"
            );
            // Nothing is left but the object, and the parts of an upload that may go on.
            let parts = if in_parts && found == b"old" { 2 } else { 0 };
            let whole = if found == *content && in_parts { 2 } else { 1 };
            let left = files(&directory.path().join("blobs"));
            assert!(
                (whole..=whole + parts).contains(&left),
                "{point}: {left} blobs"
            );
            assert!(put(&server, b"later").await);
            assert_eq!(get(&server).await, b"later");
        }
    }
    // Every point of both ways, and those that both pass.
    assert!(died >= CRASH_POINTS.len() - 2, "only {died} deaths");
}
