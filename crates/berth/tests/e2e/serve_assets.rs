//! `berth serve`: static assets, deployed by an unmodified wrangler.

use berth_test::{Project, ServerSession};
use http::StatusCode;

use crate::world;

const CONFIG: &str = r#"{
  "name": "site",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "assets": {
    "directory": "./public",
    "binding": "ASSETS",
    "not_found_handling": "404-page",
    "run_worker_first": ["/api/*"]
  }
}"#;

const WORKER: &str = r#"
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/api/style") {
      const style = await env.ASSETS.fetch(new URL("/style.css", request.url));
      return new Response(`${style.status} ${await style.text()}`);
    }
    return new Response(`the Worker: ${pathname}`);
  },
};
"#;

fn site() -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project.write("public/index.html", "<title>one</title>");
    project.write("public/about us/index.html", "about");
    project.write("public/style.css", "body {}");
    project.write("public/same.css", "body {}");
    project.write("public/404.html", "nothing here");
    project.write("public/_headers", "/style.css\n  X-Style: yes\n");
    project.write("public/_redirects", "/old /new 301\n");
    project.write("public/.assetsignore", "*.map\n");
    project.write("public/app.js.map", "not to be deployed");
    project
}

fn files(server: &std::path::Path, directory: &str) -> usize {
    let directory = server.join("server").join(directory);
    std::fs::read_dir(directory).unwrap().count()
}

async fn status(server: &ServerSession, path: &str) -> StatusCode {
    server.get("site", path).await.status
}

#[tokio::test]
async fn files_are_served_as_configured_and_rolled_back() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = site();

    let deployed = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(
        deployed.contains("Found 4 new or modified static assets"),
        "{deployed}"
    );
    let (_, first) = deployed.rsplit_once("Current Version ID: ").unwrap();
    assert_eq!(server.text("site", "/").await, "<title>one</title>");
    assert_eq!(server.text("site", "/about%20us/").await, "about");
    let style = server.get("site", "/style.css").await.ok();
    assert_eq!(style.headers["x-style"], "yes");
    assert!(
        style.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/css")
    );
    let old = server.get("site", "/old").await;
    assert_eq!(
        (old.status, &old.headers["location"]),
        (StatusCode::MOVED_PERMANENTLY, &"/new".parse().unwrap())
    );
    // `_headers` and the like are no files, and what is ignored was not sent.
    for path in ["/nothing", "/app.js.map", "/_headers", "/_redirects"] {
        let answer = server.get("site", path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.text(), "nothing here");
    }
    assert_eq!(server.text("site", "/api/style").await, "200 body {}");
    assert_eq!(server.text("site", "/api/x").await, "the Worker: /api/x");
    assert_eq!(files(data.path(), "assets"), 1);
    let kept = files(data.path(), "modules");

    // Only what changed is sent; another Worker's code alone leaves the files where they are.
    project.write("public/index.html", "<title>two</title>");
    let second = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(
        second.contains("Found 1 new or modified static asset "),
        "{second}"
    );
    assert_eq!(server.text("site", "/").await, "<title>two</title>");
    // The page and the manifest; the code is the same.
    assert_eq!(files(data.path(), "modules"), kept + 2);
    assert_eq!(files(data.path(), "assets"), 1);
    project.write("index.js", WORKER.replace("the Worker", "it"));
    let third = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(third.contains("No updated asset files"), "{third}");
    assert_eq!(server.text("site", "/api/x").await, "it: /api/x");
    assert_eq!(server.text("site", "/").await, "<title>two</title>");

    // A secret makes a version with the same files.
    let put = ["secret", "put", "KEY"];
    server.wrangler_ok(&project, put, "x").await;
    assert_eq!(server.text("site", "/").await, "<title>two</title>");

    let back = ["rollback", first.trim(), "--yes", "--message", "back"];
    server.wrangler_ok(&project, back, "").await;
    assert_eq!(server.text("site", "/").await, "<title>one</title>");

    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert_eq!(server.text("site", "/").await, "<title>one</title>");
    assert_eq!(files(data.path(), "assets"), 1);
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    assert_eq!(status(&server, "/").await, StatusCode::NOT_FOUND);
    assert_eq!(files(data.path(), "assets"), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_worker_may_be_nothing_but_assets() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write(
        "wrangler.jsonc",
        r#"{
          "name": "site",
          "compatibility_date": "2026-11-01",
          "assets": { "directory": "./dist", "not_found_handling": "single-page-application" }
        }"#,
    );
    project.write("dist/index.html", "the page");
    project.write("dist/empty.txt", "");
    project.write("dist/large.bin", vec![7; 3 << 20]);
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("site", "/any/where").await, "the page");
    assert_eq!(server.text("site", "/empty.txt").await, "");
    let large = server.get("site", "/large.bin").await.ok();
    assert_eq!(large.body.len(), 3 << 20);

    // Versions of it wait and are deployed like any other.
    project.write("dist/index.html", "another");
    server
        .wrangler_ok(&project, ["versions", "upload"], "")
        .await;
    assert_eq!(server.text("site", "/").await, "the page");
    let list = ["versions", "list", "--json"];
    let listed = server.wrangler_ok(&project, list, "").await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let share = format!("{}@100%", listed[1]["id"].as_str().unwrap());
    let deploy = ["versions", "deploy", &share, "--yes"];
    server.wrangler_ok(&project, deploy, "").await;
    assert_eq!(server.text("site", "/").await, "another");
    server.stop().await;
}
