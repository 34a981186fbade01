//! Limits: refused before bytes are taken where that is possible, and nothing is left behind.

use serde_json::json;

use crate::support::{Answer, Image, Server, sha256};

fn leftovers(server: &Server) -> usize {
    let files = |name: &str| std::fs::read_dir(server.data().join(name)).unwrap().count();
    files("uploads") + files("tmp")
}

#[tokio::test]
async fn an_image_has_a_largest_size() {
    let server = Server::start(json!({"image_limit": 2_000_000}));
    let large = vec![1; 2_000_001];
    let digest = sha256(&large);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = server
        .send("POST", &path, large.clone())
        .await
        .error(413, "DENIED");
    let error = answer.json()["errors"][0].clone();
    assert_eq!(
        error["detail"],
        json!({"size": 2_000_001, "limit": 2_000_000})
    );
    assert_eq!(
        error["message"],
        "the image is too large: 2.0 MB of at most 2.0 MB"
    );
    // Of unknown length: as far as the limit, and gone.
    let stream = |n: usize| {
        let pieces = (0..n).map(|_| Ok::<_, std::io::Error>(vec![1; 100_000]));
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };
    let answer = server
        .request("POST", &path)
        .body(stream(25))
        .send()
        .await
        .unwrap();
    Answer::of(answer).await.error(413, "DENIED");
    assert_eq!(leftovers(&server), 0);
    let location = server.begin("a").await;
    server
        .send("PATCH", &location, vec![1; 1_500_000])
        .await
        .expect(202);
    server
        .send("PATCH", &location, vec![1; 600_000])
        .await
        .error(413, "DENIED");
    let answer = server
        .request("PATCH", &location)
        .body(stream(6))
        .send()
        .await
        .unwrap();
    Answer::of(answer).await.error(413, "DENIED");
    server.send("DELETE", &location, "").await.expect(204);
    // Each blob fits, the image does not.
    let layers: Vec<_> = (0..2).map(|i| vec![i; 1_200_000]).collect();
    let mut image = Image::new(&layers[0]);
    image.push_blobs(&server, "a").await;
    server.push_blob("a", &layers[1]).await;
    let second = crate::support::descriptor("application/x", &layers[1]);
    image.manifest["layers"]
        .as_array_mut()
        .unwrap()
        .push(second);
    server
        .push_manifest("a", "x", &image.manifest)
        .await
        .error(413, "DENIED");
    server
        .get("/v2/a/manifests/x")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    // A layer that stands twice counts once.
    let first = image.manifest["layers"][0].clone();
    image.manifest["layers"][1] = first;
    server
        .push_manifest("a", "x", &image.manifest)
        .await
        .expect(201);
}

#[tokio::test]
async fn all_together_have_a_largest_size() {
    let server = Server::start(json!({"total_limit": 3_000_000, "grace_ms": 0}));
    let manifest = server.push_image("a", "x", &vec![1; 2_000_000]).await;
    let path = |content: &[u8]| format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
    for size in [1_000_001, 500_000_000] {
        let content = vec![2; size];
        let answer = server.send("POST", &path(&content), content.clone()).await;
        let answer = answer.error(403, "DENIED").json();
        let detail = &answer["errors"][0]["detail"];
        assert_eq!(
            (&detail["limit"], &detail["wanted"]),
            (&json!(3_000_000), &json!(size))
        );
    }
    assert_eq!(leftovers(&server), 0);
    // The same bytes again cost nothing.
    for blob in [&manifest["config"], &manifest["layers"][0]] {
        let digest = blob["digest"].as_str().unwrap();
        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        server.send("POST", &mount, "").await.expect(201);
    }
    server.push_manifest("b", "x", &manifest).await.expect(201);
    // Uploads count while they are under way.
    let location = server.begin("a").await;
    server
        .send("PATCH", &location, vec![2; 900_000])
        .await
        .expect(202);
    let content = vec![3; 200_000];
    server
        .send("POST", &path(&content), content.clone())
        .await
        .error(403, "DENIED");
    server.send("DELETE", &location, "").await.expect(204);
    server
        .send("POST", &path(&content), content.clone())
        .await
        .expect(201);
    // What was deleted and collected makes room.
    for name in ["a", "b"] {
        let digest = sha256(manifest.to_string().as_bytes());
        server
            .send("DELETE", &format!("/v2/{name}/manifests/{digest}"), "")
            .await
            .expect(202);
    }
    server.send("PUT", "/v2/gc/layers", "").await.expect(200);
    server.push_image("c", "x", &vec![4; 2_900_000]).await;
}
