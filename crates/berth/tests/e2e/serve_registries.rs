//! `berth serve`: images of the server's own registry, and credentials for those of others, by an
//! unmodified wrangler.

use berth_test::{Project, ServerSession};
use http::Method;
use serde_json::{Value, json};

use crate::serve_rollout::{self, until};
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

/// Id of the live version.
async fn live(server: &ServerSession) -> String {
    let path = "/workers/scripts/greeter/deployments";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    let live = &listed["result"]["deployments"][0]["versions"][0]["version_id"];
    live.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn images_are_found_when_the_registry_has_moved() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = serve_rollout::project(&world, &json!({"max_instances": 1}));
    serve_rollout::deploy(&server, &project, "one").await;
    assert_eq!(server.text("greeter", "/a").await, "one 1");
    let first = live(&server).await;
    serve_rollout::deploy(&server, &project, "two").await;
    let former = server.variable("CLOUDFLARE_CONTAINER_REGISTRY").to_owned();
    server.stop().await;

    // Nothing of the images is left but what the registry has.
    let mut prune = world.command();
    prune
        .args(["images", "prune", "--all"])
        .env("BERTH_DATA_DIR", data.path());
    let pruned = prune.output().unwrap();
    assert!(pruned.status.success(), "{pruned:?}");
    let mut list = world.command();
    list.args(["images", "list"])
        .env("BERTH_DATA_DIR", data.path());
    let listed = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert!(!listed.contains("greeter"), "{listed}");

    // Somebody else has the port now.
    let taken = std::net::TcpListener::bind(&former).unwrap();
    let server = world.server(data.path()).await;
    assert_ne!(server.variable("CLOUDFLARE_CONTAINER_REGISTRY"), former);
    assert_eq!(server.text("greeter", "/a").await, "two 1");
    server
        .wrangler_ok(&project, ["rollback", &first, "--yes"], "")
        .await;
    until(&server, &["/a"], |answers, rollout| {
        answers[0].starts_with("one") && rollout["status"] == "completed"
    })
    .await;
    drop(taken);
    server.stop().await;
}

#[tokio::test]
async fn a_client_elsewhere_pushes_to_the_address_of_the_api() {
    let world = world();
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = world.server(data.path()).await;
    let project = serve_rollout::project(&world, &json!({"max_instances": 2}));
    project.write("greeting", "far");
    let api = server.variable("CLOUDFLARE_API_BASE_URL");
    let variables = [
        ("BERTH_DATA_DIR", elsewhere.path().to_str().unwrap()),
        (
            "CLOUDFLARE_API_TOKEN",
            server.variable("CLOUDFLARE_API_TOKEN"),
        ),
    ];
    let deployed = server
        .berth(&project, ["deploy", "--server", api], "", &variables)
        .await;
    assert!(deployed.status.success(), "{deployed:?}");
    let image = serve_rollout::application(&server).await["configuration"]["image"].clone();
    let image = image.as_str().unwrap();
    let host = api.split('/').nth(2).unwrap();
    assert!(image.starts_with(&format!("{host}/")), "{image}");
    assert_eq!(server.text("greeter", "/a").await, "far 1");

    // The same image by another address of the registry is no change: what runs runs on.
    let before = serve_rollout::application(&server).await;
    let own = server.variable("CLOUDFLARE_CONTAINER_REGISTRY");
    let mut target = before["configuration"].clone();
    target["image"] = json!(image.replacen(host, own, 1));
    let path = format!(
        "/containers/applications/{}/rollouts",
        before["id"].as_str().unwrap()
    );
    let asked = json!({"target_configuration": target, "step_percentage": 100});
    server.api(Method::POST, &path, asked).await.ok();
    let rollout = serve_rollout::rollout(&server).await;
    assert_eq!(rollout["status"], "completed", "{rollout}");
    assert_eq!(rollout["current_version"], rollout["target_version"]);
    let after = serve_rollout::application(&server).await;
    assert_eq!(after["configuration"], target);
    assert_eq!(server.text("greeter", "/a").await, "far 2");
    assert_eq!(server.text("greeter", "/b").await, "far 1");

    // Without a token of the server's nobody is let in there.
    let client = berth_test::Client::new(&format!("http://{host}"));
    let refused = client.send(client.request(Method::GET, "/v2/", "")).await;
    assert_eq!(refused.status, 401);
    server.stop().await;
}

/// The API with TLS, at a name of its certificate; the other machine has an engine and a data directory of its own.
#[tokio::test]
async fn wrangler_on_another_machine_builds_there_and_deploys_over_tls() {
    let world = world();
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(data.path().join("own.key"), made.key_pair.serialize_pem()).unwrap();
    std::fs::write(data.path().join("own.pem"), made.cert.pem()).unwrap();
    let settings = "[listen]\nhttps = \"127.0.0.1:0\"\n\
        [tls]\ncertificates = [{ certificate = \"own.pem\", key = \"own.key\" }]\n";
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let server = world.server(data.path()).await;
    let api = server.said("api");
    let api = api.replace("http://127.0.0.1", "https://localhost");
    let host = api.split('/').nth(2).unwrap();

    let authority = data.path().join("own.pem");
    let hosts = json!({"registries": {host: {"ca": authority}}});
    std::fs::write(elsewhere.path().join("registries.json"), hosts.to_string()).unwrap();
    let no_points = tempfile::tempdir().unwrap();
    let engine = world.engine_in(elsewhere.path(), no_points.path()).await;
    let there = [
        ("BERTH_DATA_DIR", elsewhere.path().to_str().unwrap()),
        ("NODE_EXTRA_CA_CERTS", authority.to_str().unwrap()),
        (
            "CLOUDFLARE_API_TOKEN",
            server.variable("CLOUDFLARE_API_TOKEN"),
        ),
    ];
    let nowhere = Project::empty();
    let ask = ["env", "--server", &api, "--json"];
    let printed = server.berth(&nowhere, ask, "", &there).await;
    assert!(printed.status.success(), "{printed:?}");
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed["CLOUDFLARE_CONTAINER_REGISTRY"], *host);
    assert_eq!(printed["DOCKER_HOST"], engine.host());
    let mut variables: Vec<_> = printed.as_object().unwrap().iter().collect();
    variables.retain(|(name, _)| *name != "NODE_EXTRA_CA_CERTS");
    let variables = variables.into_iter();
    let mut variables: Vec<_> = variables
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    variables.extend(there);

    let project = serve_rollout::project(&world, &json!({"max_instances": 1}));
    project.write("greeting", "far");
    let deployed = server.wrangler_with(&project, ["deploy"], &variables).await;
    assert!(deployed.status.success(), "{deployed:?}");
    assert_eq!(server.text("greeter", "/a").await, "far 1");
    let image = serve_rollout::application(&server).await["configuration"]["image"].clone();
    let image = image.as_str().unwrap();
    assert!(image.starts_with(&format!("{host}/")), "{image}");
    let list = ["containers", "images", "list"];
    let listed = server.wrangler_with(&project, list, &variables).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("greeter-greeter"), "{listed}");

    // Who has no token is told so before anything is printed.
    let stranger = ["env", "--server", &api, "--token", "nobody"];
    let refused = server.berth(&nowhere, stranger, "", &there).await;
    assert!(
        !refused.status.success() && refused.stdout.is_empty(),
        "{refused:?}"
    );
    engine.stop().await;
    server.stop().await;
}
