//! `berth serve`: images of the server's own registry, and credentials for those of others, by an
//! unmodified wrangler.

use berth_test::Project;
use serde_json::Value;

use crate::world;

#[tokio::test]
async fn images_are_listed_and_deleted() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    for tag in ["tool:one", "tool:two", "other:x"] {
        // wrangler pushes nothing that is there by its digest, whatever the tag.
        project.write("Dockerfile", format!("FROM scratch\nLABEL tag={tag}\n"));
        let build = ["containers", "build", ".", "--tag", tag, "--push"];
        server.wrangler_ok(&project, build, "").await;
    }
    let list = ["containers", "images", "list", "--json"];
    let listed = server.wrangler_ok(&project, list, "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([
            {"name": "other", "tags": ["x"]},
            {"name": "tool", "tags": ["one", "two"]},
        ])
    );
    let filtered = ["containers", "images", "list", "--filter", "/oth"];
    let filtered = server.wrangler_ok(&project, filtered, "").await;
    assert!(
        filtered.contains("other") && !filtered.contains("tool"),
        "{filtered}"
    );

    let delete = ["containers", "images", "delete", "tool:one", "-y"];
    server.wrangler_ok(&project, delete, "").await;
    let again = server.wrangler(&project, delete, "").await;
    assert!(!again.status.success(), "it is gone");
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(
        !listed.contains("one") && listed.contains("two"),
        "{listed}"
    );

    let host = server.variable("CLOUDFLARE_CONTAINER_REGISTRY");
    let credentials = [
        "containers",
        "registries",
        "credentials",
        host,
        "--push",
        "--json",
    ];
    let credentials = server.wrangler_ok(&project, credentials, "").await;
    assert!(credentials.contains("password"), "{credentials}");
    server.stop().await;
}
