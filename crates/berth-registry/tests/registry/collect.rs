//! Garbage collection: what goes, what stays, and pushes in the middle of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{IMAGE, INDEX, Image, Server, descriptor, sha256};

fn blobs(server: &Server) -> usize {
    std::fs::read_dir(server.data().join("blobs/sha256"))
        .unwrap()
        .count()
}

async fn collect(server: &Server) -> Value {
    server
        .send("PUT", "/v2/gc/layers", "")
        .await
        .expect(200)
        .json()["result"]
        .clone()
}

#[tokio::test]
async fn what_nobody_needs_goes_and_the_rest_stays() {
    let server = Server::start(json!({"grace_ms": 0, "upload_ms": 0}));
    server.push_image("a", "x", b"one").await;
    let two = server.push_image("a", "y", b"two").await;
    // The same manifest under a second tag, a moved tag, an upload, a blob for nothing.
    server.push_manifest("a", "z", &two).await.expect(201);
    let moved = server.push_image("a", "latest", b"three").await;
    server.push_image("a", "latest", b"four").await;
    server.begin("a").await;
    server.push_blob("a", b"for nothing").await;
    let before = blobs(&server);
    let collected = collect(&server).await;
    assert_eq!(
        (
            &collected["blobs"],
            &collected["uploads"],
            &collected["manifests"]
        ),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(blobs(&server), before - 1);
    let moved = sha256(moved.to_string().as_bytes()).to_string();
    for reference in ["x", "y", "z", "latest", &moved] {
        server.check_image("a", reference).await;
    }
    // As wrangler deletes: the tag, then the collection.
    server
        .send("DELETE", "/v2/a/manifests/y", "")
        .await
        .expect(202);
    assert_eq!(collect(&server).await["manifests"], 0);
    server
        .send("DELETE", "/v2/a/manifests/z", "")
        .await
        .expect(202);
    assert_eq!(collect(&server).await["manifests"], 1);
    server
        .get("/v2/a/manifests/z")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    assert_eq!(blobs(&server), before - 3);
    for reference in ["x", "latest", &moved] {
        server.check_image("a", reference).await;
    }
    // Beside the server, with another rule.
    let result = server.collect_beside(0);
    assert_eq!(result["blobs"], 0);
}

#[tokio::test]
async fn an_index_and_what_is_about_it_go_together() {
    let server = Server::start(json!({"grace_ms": 0}));
    let child = Image::new(b"child");
    child.push_blobs(&server, "a").await;
    let named = child.digest().to_string();
    server
        .push_manifest("a", &named, &child.manifest)
        .await
        .expect(201);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, child.manifest.to_string().as_bytes())],
    });
    server.push_manifest("a", "x", &index).await.expect(201);
    server.push_blob("a", b"{}").await;
    let about = json!({
        "schemaVersion": 2, "mediaType": IMAGE, "layers": [],
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "subject": descriptor(INDEX, index.to_string().as_bytes()),
    });
    let about_digest = sha256(about.to_string().as_bytes());
    server
        .push_manifest("a", &about_digest.to_string(), &about)
        .await
        .expect(201);
    assert_eq!(collect(&server).await["manifests"], 0);
    server.check_image("a", &named).await;
    server
        .send("DELETE", "/v2/a/manifests/x", "")
        .await
        .expect(202);
    assert_eq!(collect(&server).await["manifests"], 3);
    assert_eq!(blobs(&server), 0);
}

#[tokio::test]
async fn grace_is_by_age_and_a_client_that_relies_on_a_blob_renews_it() {
    let server = Server::start(json!({"grace_ms": 3_600_000}));
    let digest = server.push_blob("a", b"layer").await;
    let link = server
        .data()
        .join(format!("repositories/a/_blobs/sha256-{}", digest.hex()));
    let blob = server.data().join(format!("blobs/sha256/{}", digest.hex()));
    let age = |path: &std::path::Path| {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    };
    age(&link);
    age(&blob);
    // A client that is told that the blob is there will not upload it.
    server
        .send("HEAD", &format!("/v2/a/blobs/{digest}"), "")
        .await
        .expect(200);
    assert_eq!(collect(&server).await["blobs"], 0);
    age(&link);
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    server.send("POST", &mount, "").await.expect(201);
    collect(&server).await;
    server
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .error(404, "BLOB_UNKNOWN");
    server
        .get(&format!("/v2/b/blobs/{digest}"))
        .await
        .expect(200);
    age(&server
        .data()
        .join(format!("repositories/b/_blobs/sha256-{}", digest.hex())));
    assert_eq!(collect(&server).await["blobs"], 1);
    assert!(!blob.exists());
}

#[tokio::test]
async fn untagged_images_go_only_if_that_is_wanted() {
    let server = Server::start(json!({"grace_ms": 0, "untagged_ms": 0}));
    let image = Image::new(b"layer");
    image.push_blobs(&server, "a").await;
    server
        .push_manifest("a", &image.digest().to_string(), &image.manifest)
        .await
        .expect(201);
    server.push_image("a", "x", b"kept").await;
    assert_eq!(collect(&server).await["manifests"], 1);
    server.check_image("a", "x").await;
}

/// With no grace at all and collectors that never rest, in the server and beside it: a push is
/// either refused, or what it pushed is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_push_that_races_with_a_collector_is_whole_or_refused() {
    let server = Arc::new(Server::start(json!({"grace_ms": 0})));
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (server, done) = (server.clone(), done.clone());
        async move {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                removed += collect(&server).await["blobs"].as_u64().unwrap();
            }
            removed
        }
    });
    let beside = tokio::task::spawn_blocking({
        let (server, done) = (server.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                server.collect_beside(0);
            }
        }
    });
    let pushers: Vec<_> = (0..3)
        .map(|pusher| {
            let server = server.clone();
            tokio::spawn(async move { push_some(&server, pusher).await })
        })
        .collect();
    let (mut whole, mut refused) = (Vec::new(), 0);
    for pusher in pushers {
        let (some, none) = pusher.await.unwrap();
        whole.extend(some);
        refused += none;
    }
    done.store(true, Ordering::Relaxed);
    let removed = collector.await.unwrap();
    beside.await.unwrap();
    assert!(
        !whole.is_empty() && removed > 0,
        "{} pushed, {refused} refused, {removed} removed",
        whole.len()
    );
    server.collect_beside(0);
    for (repository, tag) in whole {
        server.check_image(&repository, &tag).await;
    }
}

/// Pushes images that share layers with other pushers'; what was taken, and how many were refused.
async fn push_some(server: &Server, pusher: usize) -> (Vec<(String, String)>, usize) {
    let (mut whole, mut refused) = (Vec::new(), 0);
    for round in 0..12 {
        let repository = format!("r{}", (pusher + round) % 2);
        let image = Image::new(format!("layer {}", round % 5).as_bytes());
        let tag = format!("p{pusher}-{round}");
        image.push_blobs(server, &repository).await;
        let answer = server
            .push_manifest(&repository, &tag, &image.manifest)
            .await;
        if answer.status == 201 {
            // Every other one is deleted again, so that the collector has something to do.
            if round % 2 == 0 {
                let path = format!("/v2/{repository}/manifests/{tag}");
                server.send("DELETE", &path, "").await.expect(202);
            } else {
                whole.push((repository, tag));
            }
        } else {
            answer.error(400, "MANIFEST_BLOB_UNKNOWN");
            refused += 1;
        }
    }
    (whole, refused)
}
