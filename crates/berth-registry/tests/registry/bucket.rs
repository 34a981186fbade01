//! The storage in a bucket: against moto, a stand-in for S3 that pip installs.

use berth_registry::BUCKET_CRASH_POINTS;
use berth_test::Moto;
use serde_json::{Value, json};

use crate::support::{Answer, Image, Server, descriptor, sha256};

/// Settings of a registry that is in its bucket.
fn config(s3: &Moto, mut config: Value) -> Value {
    config["bucket"] = json!("images");
    config["endpoint"] = json!(s3.endpoint());
    config
}

fn bytes(n: u32) -> Vec<u8> {
    (0..n)
        .map(|i| u8::try_from((i / 7) % 251).unwrap())
        .collect()
}

#[tokio::test]
async fn a_bucket_serves_like_a_directory() {
    crate::support::provide_cryptography();
    let s3 = Moto::start("images").await;
    let server = Server::start(config(&s3, json!({"grace_ms": 0, "upload_ms": 0})));
    let other = Server::start(config(&s3, json!({})));
    // Small and large, whole and in chunks that are not parts.
    let large = bytes(9_000_003);
    let digest = server.push_blob("a/b", &large).await;
    let answer = other
        .get(&format!("/v2/a/b/blobs/{digest}"))
        .await
        .expect(200);
    assert!(answer.body == large);
    let chunked = bytes(10_000_001);
    let location = server.begin("a/b").await;
    for (number, chunk) in chunked.chunks(3_500_000).enumerate() {
        // One process after the other: each has only what is in the bucket.
        let server = if number % 2 == 0 { &server } else { &other };
        let start = number * 3_500_000;
        let range = format!("{start}-{}", start + chunk.len() - 1);
        let request = server
            .request("PATCH", &location)
            .header("content-range", range);
        let answer = Answer::of(request.body(chunk.to_vec()).send().await.unwrap()).await;
        let have = answer.expect(202).header("range");
        assert_eq!(have, format!("0-{}", start + chunk.len() - 1));
    }
    let digest = sha256(&chunked);
    let finish = format!("{location}?digest={digest}");
    server.send("PUT", &finish, "").await.expect(201);
    let path = format!("/v2/a/b/blobs/{digest}");
    let part = server
        .request("GET", &path)
        .header("range", "bytes=8388600-8388700");
    let part = Answer::of(part.send().await.unwrap()).await.expect(206);
    assert!(part.body == chunked[8_388_600..=8_388_700]);
    server.push_blob("a/b", b"").await;
    // Images, tags, referrers, mounting.
    let manifest = server.push_image("a/b", "x", b"layer").await;
    server
        .push_manifest("a/b", "y", &manifest)
        .await
        .expect(201);
    other.check_image("a/b", "x").await;
    let mut about = Image::new(b"about");
    about.manifest["subject"] = descriptor(crate::support::IMAGE, manifest.to_string().as_bytes());
    about.push_blobs(&server, "a/b").await;
    server
        .push_manifest("a/b", "about", &about.manifest)
        .await
        .expect(201);
    let subject = sha256(manifest.to_string().as_bytes());
    let referrers = other
        .get(&format!("/v2/a/b/referrers/{subject}"))
        .await
        .expect(200)
        .json();
    assert_eq!(referrers["manifests"].as_array().unwrap().len(), 1);
    let map = other.get("/v2/_catalog?tags=true").await.expect(200).json();
    assert_eq!(map["repositories"], json!({"a/b": ["about", "x", "y"]}));
    let mount = format!("/v2/c/blobs/uploads/?mount={digest}");
    other.send("POST", &mount, "").await.expect(201);
    // Cancelled, refused, deleted, collected.
    let location = server.begin("a/b").await;
    server
        .send("PATCH", &location, bytes(9_000_000))
        .await
        .expect(202);
    server.send("DELETE", &location, "").await.expect(204);
    server
        .get(&location)
        .await
        .error(404, "BLOB_UPLOAD_UNKNOWN");
    let wrong = format!("/v2/a/b/blobs/uploads/?digest={}", sha256(b"wrong"));
    server
        .send("POST", &wrong, bytes(9_000_000))
        .await
        .error(400, "DIGEST_INVALID");
    server.begin("a/b").await;
    server
        .send("DELETE", "/v2/a/b/manifests/y", "")
        .await
        .expect(202);
    let collected = server
        .send("PUT", "/v2/gc/layers", "")
        .await
        .expect(200)
        .json();
    let result = &collected["result"];
    assert_eq!(
        (&result["blobs"], &result["uploads"], &result["manifests"]),
        (&json!(3), &json!(1), &json!(0))
    );
    for tag in ["x", "about"] {
        server.check_image("a/b", tag).await;
    }
    server.get(&path).await.error(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn an_upload_into_a_bucket_survives_its_process() {
    crate::support::provide_cryptography();
    let s3 = Moto::start("images").await;
    let mut server = Server::start(config(&s3, json!({"grace_ms": 0})));
    server.push_image("a", "kept", b"kept").await;
    for point in BUCKET_CRASH_POINTS {
        let mut content = bytes(9_000_000);
        content.extend_from_slice(point.as_bytes());
        let digest = sha256(&content);
        std::fs::write(server.crash.join(point), "").unwrap();
        let location = server.begin("a").await;
        let finish = format!("{location}?digest={digest}");
        let mut died = false;
        if *point == "registry.bucket.blob" {
            let small = b"small";
            let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(small));
            died = server
                .request("POST", &path)
                .body(&small[..])
                .send()
                .await
                .is_err();
        }
        for (method, path, body) in [
            ("PATCH", &location, content[..8_500_000].to_vec()),
            ("PUT", &finish, content[8_500_000..].to_vec()),
        ] {
            if !died {
                died = server
                    .request(method, path)
                    .body(body)
                    .send()
                    .await
                    .is_err();
            }
        }
        assert!(died, "{point} was not reached");
        server.died();
        server.restart();
        server.check_image("a", "kept").await;
        let status = server.get(&location).await;
        if status.status == 204 {
            let range = status.header("range");
            let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
            let have = if last == 0 { 0 } else { last + 1 };
            let rest = content[have..].to_vec();
            server.send("PUT", &finish, rest).await.expect(201);
        } else {
            // Its blob has its name; only the answer was lost.
            status.error(404, "BLOB_UPLOAD_UNKNOWN");
            server.push_blob("a", &content).await;
        }
        let answer = server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200);
        assert!(answer.body == content, "{point}");
    }
}
