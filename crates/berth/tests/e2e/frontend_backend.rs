//! `examples/frontend-backend`: assets without a container, an API with one.

use berth_test::{Client, Project};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::world;

/// The pages, which need no container.
pub(crate) async fn drive_assets(session: &Client) {
    let page = session.get("/").await.ok();
    assert!(page.text().contains("<title>Text analysis</title>"));
    for (path, kind) in [("/app.js", "javascript"), ("/style.css", "text/css")] {
        let asset = session.get(path).await.ok();
        let content_type = asset.headers["content-type"].to_str().unwrap().to_owned();
        assert!(content_type.contains(kind), "{path}: {content_type}");
    }
    assert_eq!(
        session.get("/missing.png").await.status,
        StatusCode::NOT_FOUND
    );
}

/// The API, which is in one.
pub(crate) async fn drive_api(session: &Client) {
    let health = session.get("/api/health").await.ok().json();
    assert_eq!(health["status"], "healthy");
    assert!(
        health["python"].as_str().unwrap().starts_with("3.11."),
        "{health}"
    );
    let body = json!({ "text": "to be or not to be" }).to_string();
    let replies = join_all((0..100).map(|_| session.post("/api/analyse", body.clone())));
    for reply in replies.await {
        let analysis = reply.ok().json();
        assert_eq!(
            (&analysis["words"], &analysis["unique_words"]),
            (&json!(6), &json!(4))
        );
    }
    let long = json!({ "text": "word ".repeat(180_000) }).to_string();
    let analysis = session.post("/api/analyse", long).await.ok().json();
    assert_eq!(analysis["words"], 180_000);
    assert_eq!(
        session.post("/api/analyse", "no JSON").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn assets_and_api_are_served_side_by_side() {
    let session = world()
        .dev(&Project::example("frontend-backend"))
        .start()
        .await;
    drive_assets(session.client()).await;
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "")),
        0,
        "assets need no container"
    );
    drive_api(session.client()).await;
    session.stop().await;
}
