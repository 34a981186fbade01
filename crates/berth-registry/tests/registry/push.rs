//! Push and pull: every way for bytes to come in, and what comes out again.

use berth_registry::digest::{Algorithm, Digest};
use serde_json::json;

use crate::support::{Answer, IMAGE, INDEX, Image, Server, descriptor, sha256};

#[tokio::test]
async fn a_blob_comes_in_every_way() {
    let server = Server::start(json!({}));
    let ways = [
        "post",
        "post+put",
        "patch+put",
        "chunks",
        "chunks, the last with put",
    ];
    for (number, way) in ways.iter().enumerate() {
        let content = vec![u8::try_from(number).unwrap(); 3_000_000];
        let digest = sha256(&content);
        if *way == "post" {
            server.push_blob("a/b", &content).await;
        } else {
            let location = server.begin("a/b").await;
            let pieces: Vec<&[u8]> = match *way {
                "post+put" => vec![],
                "patch+put" => vec![&content],
                _ => content.chunks(1_100_000).collect(),
            };
            let mut sent = 0;
            let with_put = *way == "chunks, the last with put";
            for piece in &pieces {
                let last = sent + piece.len() == content.len();
                let range = format!("{sent}-{}", sent + piece.len() - 1);
                sent += piece.len();
                let (method, path) = match last && with_put {
                    true => ("PUT", format!("{location}?digest={digest}")),
                    false => ("PATCH", location.clone()),
                };
                let request = server.request(method, &path).header("content-range", range);
                let answer = Answer::of(request.body(piece.to_vec()).send().await.unwrap()).await;
                if method == "PATCH" {
                    let range = answer.expect(202).header("range");
                    assert_eq!(range, format!("0-{}", sent - 1));
                } else {
                    answer.expect(201);
                }
            }
            if !with_put {
                let rest = if pieces.is_empty() {
                    content.clone()
                } else {
                    Vec::new()
                };
                let answer = server
                    .send("PUT", &format!("{location}?digest={digest}"), rest)
                    .await;
                let location = answer.expect(201).header("location");
                assert_eq!(location, format!("/v2/a/b/blobs/{digest}"));
            }
            server
                .get(&location)
                .await
                .error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        let answer = server
            .get(&format!("/v2/a/b/blobs/{digest}"))
            .await
            .expect(200);
        assert!(answer.body == content, "{way}");
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    }
}

#[tokio::test]
async fn the_empty_blob_and_sha512_are_like_any_other() {
    let server = Server::start(json!({}));
    let empty = server.push_blob("a", b"").await;
    let answer = server
        .get(&format!("/v2/a/blobs/{empty}"))
        .await
        .expect(200);
    assert_eq!(
        (answer.body.len(), answer.header("content-length").as_str()),
        (0, "0")
    );
    let content = b"sixty-four bytes of hash";
    let digest = Digest::of(Algorithm::Sha512, content);
    for algorithm in ["", "?digest-algorithm=sha512"] {
        let path = format!("/v2/a/blobs/uploads/{algorithm}");
        let location = server
            .send("POST", &path, "")
            .await
            .expect(202)
            .header("location");
        server
            .send("PATCH", &location, content.to_vec())
            .await
            .expect(202);
        let finish = format!("{location}?digest={digest}");
        server.send("PUT", &finish, "").await.expect(201);
        let answer = server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200);
        assert_eq!(answer.body, content);
    }
    let config = descriptor("application/vnd.oci.image.config.v1+json", b"");
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []});
    let named = Digest::of(Algorithm::Sha512, manifest.to_string().as_bytes());
    let answer = server
        .push_manifest("a", &format!("{named}?tag=x&tag=y"), &manifest)
        .await;
    answer.expect(201);
    let answer = server.get("/v2/a/manifests/y").await.expect(200);
    assert_eq!(answer.header("docker-content-digest"), named.to_string());
}

#[tokio::test]
async fn what_does_not_have_its_digest_is_not_kept() {
    let server = Server::start(json!({}));
    let wrong = sha256(b"something else");
    let path = format!("/v2/a/blobs/uploads/?digest={wrong}");
    server
        .send("POST", &path, "small")
        .await
        .error(400, "DIGEST_INVALID");
    server
        .send("POST", &path, vec![0; 3_000_000])
        .await
        .error(400, "DIGEST_INVALID");
    let location = server.begin("a").await;
    server.send("PATCH", &location, "bytes").await.expect(202);
    let finish = format!("{location}?digest={wrong}");
    server
        .send("PUT", &finish, "")
        .await
        .error(400, "DIGEST_INVALID");
    server
        .get(&format!("/v2/a/blobs/{wrong}"))
        .await
        .error(404, "BLOB_UNKNOWN");
    let uploads = server.data().join("uploads");
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
    let manifest = Image::new(b"x").manifest;
    let answer = server
        .push_manifest("a", &wrong.to_string(), &manifest)
        .await;
    answer.error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let server = Server::start(json!({}));
    let location = server.begin("a").await;
    let chunk = |range: &str, body: &'static str| {
        let request = server
            .request("PATCH", &location)
            .header("content-range", range);
        request.body(body).send()
    };
    let answer = Answer::of(chunk("5-9", "world").await.unwrap()).await;
    answer.error(416, "RANGE_INVALID");
    Answer::of(chunk("0-4", "hello").await.unwrap())
        .await
        .expect(202);
    for (range, body) in [("0-4", "hello"), ("4-8", "world"), ("6-10", "world")] {
        let answer = Answer::of(chunk(range, body).await.unwrap()).await;
        let answer = answer.error(416, "RANGE_INVALID");
        assert_eq!(answer.header("range"), "0-4");
        assert_eq!(answer.header("location"), location);
    }
    let answer = Answer::of(chunk("5-7", "world").await.unwrap()).await;
    answer.error(400, "SIZE_INVALID");
    for range in ["5", "a-b", "9-5", "-5", "5-", "5-18446744073709551615"] {
        let answer = Answer::of(chunk(range, "world").await.unwrap()).await;
        answer.error(400, "RANGE_INVALID");
    }
    let status = server.get(&location).await.expect(204);
    assert_eq!(status.header("range"), "0-4");
    Answer::of(chunk("5-9", "world").await.unwrap())
        .await
        .expect(202);
    let digest = sha256(b"helloworld");
    server
        .send("PUT", &format!("{location}?digest={digest}"), "")
        .await
        .expect(201);
}

#[tokio::test]
async fn an_upload_is_cancelled_and_belongs_to_its_repository() {
    let server = Server::start(json!({}));
    let location = server.begin("a").await;
    server.send("PATCH", &location, "hello").await.expect(202);
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let path = format!("{elsewhere}?digest={}", sha256(b"hello"));
        server
            .send(method, &path, "")
            .await
            .error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    server.send("DELETE", &location, "").await.expect(204);
    server
        .get(&location)
        .await
        .error(404, "BLOB_UPLOAD_UNKNOWN");
    server
        .send("PATCH", &location, "x")
        .await
        .error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(
        std::fs::read_dir(server.data().join("uploads"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_finished_upload_may_be_finished_again() {
    let server = Server::start(json!({}));
    let location = server.begin("a").await;
    let digest = sha256(b"hello");
    let finish = format!("{location}?digest={digest}");
    server.send("PUT", &finish, "hello").await.expect(201);
    server.send("PUT", &finish, "").await.expect(201);
}

#[tokio::test]
async fn parts_of_a_blob() {
    let server = Server::start(json!({}));
    let content: Vec<u8> = (0..2_000_000u32)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    let digest = server.push_blob("a", &content).await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=500000-1500000", 500_000..1_500_001),
        ("bytes=1999999-", 1_999_999..2_000_000),
        ("bytes=-10", 1_999_990..2_000_000),
        ("bytes=0-", 0..2_000_000),
    ] {
        let answer = server
            .request("GET", &path)
            .header("range", range)
            .send()
            .await
            .unwrap();
        let answer = Answer::of(answer).await.expect(206);
        assert!(answer.body == content[part.clone()], "{range}");
        let shown = format!("bytes {}-{}/2000000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), shown);
    }
    let answer = server
        .request("GET", &path)
        .header("range", "bytes=2000000-")
        .send()
        .await;
    let answer = Answer::of(answer.unwrap())
        .await
        .error(416, "RANGE_INVALID");
    assert_eq!(answer.header("content-range"), "bytes */2000000");
    let head = server.send("HEAD", &path, "").await.expect(200);
    assert_eq!(head.header("content-length"), "2000000");
}

#[tokio::test]
async fn a_manifest_needs_its_blobs_and_is_kept_byte_for_byte() {
    let server = Server::start(json!({}));
    let image = Image::new(b"layer");
    let answer = server.push_manifest("a", "x", &image.manifest).await;
    let answer = answer.error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        answer.json()["errors"][0]["detail"]["missing"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // Blobs of another repository are not enough.
    image.push_blobs(&server, "b").await;
    let answer = server.push_manifest("a", "x", &image.manifest).await;
    answer.error(400, "MANIFEST_BLOB_UNKNOWN");
    image.push_blobs(&server, "a").await;
    let mut lying = image.manifest.clone();
    lying["layers"][0]["size"] = json!(4);
    let answer = server.push_manifest("a", "x", &lying).await;
    answer.error(400, "SIZE_INVALID");
    server
        .get("/v2/a/manifests/x")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    let text = serde_json::to_string_pretty(&image.manifest).unwrap() + "\n\n";
    let request = server
        .request("PUT", "/v2/a/manifests/x")
        .header("content-type", IMAGE);
    let answer = Answer::of(request.body(text.clone()).send().await.unwrap()).await;
    let digest = answer.expect(201).header("docker-content-digest");
    for reference in ["x", &digest] {
        let answer = server
            .get(&format!("/v2/a/manifests/{reference}"))
            .await
            .expect(200);
        assert_eq!(answer.body, text.as_bytes());
        assert_eq!(answer.header("content-type"), IMAGE);
    }
    // An index may be sparse.
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, b"elsewhere")],
    });
    server.push_manifest("a", "index", &index).await.expect(201);
    // Docker's own types.
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let mut manifest = image.manifest.clone();
    manifest["mediaType"] = json!(docker);
    server
        .push_manifest("a", "docker", &manifest)
        .await
        .expect(201);
    let answer = server.get("/v2/a/manifests/docker").await.expect(200);
    assert_eq!(answer.header("content-type"), docker);
}

#[tokio::test]
async fn deletion_is_immediate_and_leaves_what_is_needed() {
    let server = Server::start(json!({}));
    let manifest = server.push_image("a", "x", b"layer").await;
    server.push_manifest("a", "y", &manifest).await.expect(201);
    let digest = sha256(manifest.to_string().as_bytes());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = format!("/v2/a/blobs/{layer}");
    server.send("DELETE", &blob, "").await.error(409, "DENIED");
    server
        .send("DELETE", "/v2/a/manifests/x", "")
        .await
        .expect(202);
    server
        .get("/v2/a/manifests/x")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    server.check_image("a", "y").await;
    let by_digest = format!("/v2/a/manifests/{digest}");
    server.send("DELETE", &by_digest, "").await.expect(202);
    for gone in ["/v2/a/manifests/y", &by_digest] {
        server.get(gone).await.error(404, "MANIFEST_UNKNOWN");
        server
            .send("DELETE", gone, "")
            .await
            .error(404, "MANIFEST_UNKNOWN");
    }
    server.send("DELETE", &blob, "").await.expect(202);
    server.get(&blob).await.error(404, "BLOB_UNKNOWN");
    server
        .send("DELETE", &blob, "")
        .await
        .error(404, "BLOB_UNKNOWN");
}

/// A client that is cut off and comes back does not wait for its old connection.
#[tokio::test]
async fn the_newest_request_has_the_upload() {
    let server = Server::start(json!({}));
    let location = server.begin("a").await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(4);
    let stream = tokio_stream(receiver);
    let request = server
        .request("PATCH", &location)
        .body(reqwest::Body::wrap_stream(stream));
    let first = tokio::spawn(request.send());
    sender.send(Ok(vec![1; 100_000])).await.unwrap();
    // Asking for the status is enough to end the request that hangs, once it has arrived.
    while !first.is_finished() {
        server.get(&location).await.expect(204);
    }
    let answer = first.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let range = server.get(&location).await.expect(204).header("range");
    let have = match range.as_str() {
        // It was ended before its bytes were read.
        "0-0" => 0,
        other => other.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1,
    };
    let rest = vec![1; 200_000 - have];
    server.send("PATCH", &location, rest).await.expect(202);
    let digest = sha256(&vec![1; 200_000]);
    server
        .send("PUT", &format!("{location}?digest={digest}"), "")
        .await
        .expect(201);
    drop(sender);
}

fn tokio_stream<T: Send + 'static>(
    receiver: tokio::sync::mpsc::Receiver<T>,
) -> impl futures_util::Stream<Item = T> + Send + 'static {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}
