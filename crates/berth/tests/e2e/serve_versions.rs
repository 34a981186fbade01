//! Versions with containers: a rollback brings Worker, bindings and image back, or says that it cannot and
//! changes nothing; with the real wrangler.

use berth_test::{Project, ServerSession};
use serde_json::json;

use crate::serve_rollout::{
    answers, application, configure, deploy, project, rollout, until, with,
};
use crate::world;

/// Answers `/word` by itself, anything else by a container.
pub(crate) const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Greeter extends Container {
  defaultPort = 8080;
}
export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/word") return new Response(env.WORD);
    return getContainer(env.GREETER, pathname).fetch(request);
  },
};
"#;

fn say(project: &Project, word: &str) {
    configure(project, &json!({"max_instances": 1}));
    let path = project.path().join("wrangler.jsonc");
    let config = std::fs::read_to_string(path).unwrap();
    let config = config.replacen('{', &format!("{{\"vars\": {{\"WORD\": \"{word}\"}},"), 1);
    project.write("wrangler.jsonc", config);
}

async fn live_version(server: &ServerSession, project: &Project) -> String {
    let status = ["deployments", "status", "--json"];
    let status = server.wrangler_ok(project, status, "").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["versions"][0]["version_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_rollback_brings_the_image_back_or_changes_nothing() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world, &json!({}));
    project.write("index.js", WORKER);
    say(&project, "one");
    deploy(&server, &project, "hello").await;
    let first = live_version(&server, &project).await;
    assert_eq!(answers(&server, &["/a"]).await, ["hello 1"]);
    say(&project, "two");
    deploy(&server, &project, "howdy").await;
    let second = live_version(&server, &project).await;
    until(&server, &["/a"], |answers, rollout| {
        with(answers, "howdy").len() == 1 && rollout["status"] == "completed"
    })
    .await;
    assert_eq!(server.text("greeter", "/word").await, "two");
    let image = application(&server).await["configuration"]["image"].clone();

    let back = ["rollback", &first, "--yes", "--message", "back"];
    server.wrangler_ok(&project, back, "").await;
    assert_eq!(server.text("greeter", "/word").await, "one");
    let (_, rolled) = until(&server, &["/a"], |answers, rollout| {
        with(answers, "hello").len() == 1 && rollout["status"] == "completed"
    })
    .await;
    assert_eq!(rolled["description"], "Going back to a version");

    // The image of the other version is lost while the server does not run: its name, and the registry.
    server.stop().await;
    std::fs::remove_dir_all(data.path().join("registry")).unwrap();
    let mut delete = world.command();
    delete.args(["images", "delete", image.as_str().unwrap()]);
    let deleted = delete.env("BERTH_DATA_DIR", data.path()).output().unwrap();
    assert!(
        deleted.status.success(),
        "{}",
        String::from_utf8_lossy(&deleted.stderr)
    );
    let server = world.server(data.path()).await;
    let forth = ["rollback", &second, "--yes", "--message", "forth"];
    let refused = server.wrangler(&project, forth, "").await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("is gone") && said.contains(image.as_str().unwrap()),
        "{said}"
    );
    assert_eq!(live_version(&server, &project).await, first);
    assert_eq!(rollout(&server).await["id"], rolled["id"]);
    assert_eq!(server.text("greeter", "/word").await, "one");
    assert_eq!(answers(&server, &["/a"]).await, ["hello 1"]);
    server.stop().await;
}
