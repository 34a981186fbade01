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

#[tokio::test]
async fn credentials_of_others_are_configured_and_forgotten() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    let user = "--dockerhub-username=me";
    let name = "--secret-name=hub";
    let configure = [
        "containers",
        "registries",
        "configure",
        "docker.io",
        user,
        name,
        "-y",
    ];
    server.wrangler_ok(&project, configure, "hunter2").await;
    let list = ["containers", "registries", "list", "--json"];
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(listed.contains("docker.io"), "{listed}");
    // What the server pulls with is what `berth` shows.
    let own = world
        .command()
        .env("BERTH_DATA_DIR", data.path())
        .args(["containers", "registries", "list"])
        .output()
        .unwrap();
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert!(own.contains("docker.io") && own.contains("me"), "{own}");
    let again = server.wrangler(&project, configure, "other").await;
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(text.contains("already exists"), "{text}");
    let delete = ["containers", "registries", "delete", "docker.io", "-y"];
    server.wrangler_ok(&project, delete, "").await;
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(!listed.contains("docker.io"), "{listed}");
    server.stop().await;
}
