//! The server dies at every step of a push, a deletion and a collection. What a tag names is whole
//! afterwards, always; what was under way is resumed or begun again.

use berth_registry::CRASH_POINTS;
use serde_json::json;

use crate::support::{IMAGE, Image, Server, descriptor, sha256};

/// A push that an unlucky server does not survive: `None` if it died.
async fn push(server: &Server, image: &Image, layer: &[u8]) -> Option<()> {
    let send = async |method: &str, path: &str, body: Vec<u8>| {
        let answer = server.request(method, path).body(body).send().await.ok()?;
        let location = answer
            .headers()
            .get("location")
            .map(|l| l.to_str().unwrap().to_owned());
        let status = answer.status();
        answer.bytes().await.ok()?;
        assert!(status.is_success(), "{method} {path}: {status}");
        Some(location.unwrap_or_default())
    };
    let config = image.manifest["config"]["digest"].as_str().unwrap();
    let content = image_config(image, layer);
    send(
        "POST",
        &format!("/v2/b/blobs/uploads/?digest={config}"),
        content,
    )
    .await?;
    let location = send("POST", "/v2/b/blobs/uploads/", Vec::new()).await?;
    let half = layer.len() / 2;
    send("PATCH", &location, layer[..half].to_vec()).await?;
    send("PATCH", &location, layer[half..].to_vec()).await?;
    let digest = sha256(layer);
    send("PUT", &format!("{location}?digest={digest}"), Vec::new()).await?;
    let body = image.manifest.to_string().into_bytes();
    send("PUT", "/v2/b/manifests/x", body).await?;
    Some(())
}

fn image_config(image: &Image, layer: &[u8]) -> Vec<u8> {
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer).to_string()]},
    });
    let config = config.to_string().into_bytes();
    let digest = sha256(&config).to_string();
    assert_eq!(image.manifest["config"]["digest"], digest.as_str());
    config
}

/// An image with a subject, so that every step of a push is taken.
fn image(layer: &[u8]) -> Image {
    let mut image = Image::new(layer);
    image.manifest["subject"] = descriptor(IMAGE, b"somebody");
    image
}

#[tokio::test]
async fn nothing_that_a_tag_names_is_lost_wherever_the_server_dies() {
    let mut reached = 0;
    for point in CRASH_POINTS {
        let mut server = Server::start(json!({"grace_ms": 0}));
        server.push_image("a", "kept", b"kept").await;
        server.push_image("a", "gone", b"gone").await;
        let layer = vec![7; 1_000_000];
        let image = image(&layer);
        std::fs::write(server.crash.join(point), "").unwrap();
        let survived = work(&server, &image, &layer).await.is_some();
        assert!(!survived, "{point} was not reached");
        server.died();
        reached += 1;
        server.restart();
        server.check_image("a", "kept").await;
        check_tag(&server, "b", "x").await;
        check_tag(&server, "a", "gone").await;
        let swept = std::fs::read_dir(server.data().join("tmp"))
            .unwrap()
            .count();
        assert_eq!(swept, 0, "{point}");
        // What it was doing works now, and a collector finds nothing wrong.
        work(&server, &image, &layer).await.expect(point);
        server.send("PUT", "/v2/gc/layers", "").await.expect(200);
        server.check_image("a", "kept").await;
        server.check_image("b", "x").await;
        server
            .get("/v2/a/manifests/gone")
            .await
            .error(404, "MANIFEST_UNKNOWN");
        let path = format!("/v2/b/referrers/{}", sha256(b"somebody"));
        let referrers = server.get(&path).await.expect(200).json();
        assert_eq!(
            referrers["manifests"].as_array().unwrap().len(),
            1,
            "{point}"
        );
    }
    assert_eq!(reached, CRASH_POINTS.len());
}

/// A push, a deletion by tag and by digest, a collection.
async fn work(server: &Server, image: &Image, layer: &[u8]) -> Option<()> {
    push(server, image, layer).await?;
    let deleted = Image::new(b"deleted");
    let alive = async |method: &str, path: &str, body: Vec<u8>| {
        let answer = server.request(method, path).body(body).send().await.ok()?;
        answer.bytes().await.ok()
    };
    let config = image_config(&deleted, b"deleted");
    for blob in [config, b"deleted".to_vec()] {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&blob));
        alive("POST", &path, blob).await?;
    }
    let by_digest = format!("/v2/a/manifests/{}", deleted.digest());
    alive("PUT", &by_digest, deleted.manifest.to_string().into_bytes()).await?;
    alive("DELETE", &by_digest, Vec::new()).await?;
    alive("DELETE", "/v2/a/manifests/gone", Vec::new()).await?;
    alive("PUT", "/v2/gc/layers", Vec::new()).await?;
    Some(())
}

/// A tag names something whole, or nothing.
async fn check_tag(server: &Server, repository: &str, tag: &str) {
    let answer = server
        .get(&format!("/v2/{repository}/manifests/{tag}"))
        .await;
    if answer.status == 200 {
        server.check_image(repository, tag).await;
    } else {
        answer.error(404, "MANIFEST_UNKNOWN");
    }
}

#[tokio::test]
async fn an_upload_resumes_where_the_killed_server_was() {
    let mut server = Server::start(json!({}));
    let content: Vec<u8> = (0..3_000_000u32)
        .map(|i| u8::try_from(i % 249).unwrap())
        .collect();
    let location = server.begin("a").await;
    server
        .send("PATCH", &location, content[..1_000_000].to_vec())
        .await
        .expect(202);
    server.restart();
    let status = server.get(&location).await.expect(204);
    assert_eq!(status.header("range"), "0-999999");
    // It dies again in the middle of a chunk.
    std::fs::write(server.crash.join("registry.upload.written"), "").unwrap();
    let rest = content[1_000_000..].to_vec();
    let request = server
        .request("PATCH", &location)
        .header("content-range", "1000000-2999999");
    assert!(request.body(rest).send().await.is_err());
    server.died();
    server.restart();
    let range = server.get(&location).await.expect(204).header("range");
    let have: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!((1_000_001..=content.len()).contains(&have), "{range}");
    let digest = sha256(&content);
    let finish = format!("{location}?digest={digest}");
    server
        .send("PUT", &finish, content[have..].to_vec())
        .await
        .expect(201);
    let answer = server
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .expect(200);
    assert!(answer.body == content);
}

#[tokio::test]
async fn one_process_serves_a_directory() {
    let server = Server::start(json!({}));
    let config = json!({"data": server.data()});
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_berth-registry-test-server"))
        .arg(config.to_string())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
}
