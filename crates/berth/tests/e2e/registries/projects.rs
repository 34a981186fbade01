//! Projects whose images come from registries, and builds for them.

use berth_test::{DockerRegistry, Project, compile_static};

use serde_json::Value;

use super::{Machine, lines_of};

/// gzip unless somebody says something else: the command, or the configuration of a registry.
#[tokio::test]
async fn layers_that_were_built_are_compressed_as_asked() {
    let registry = DockerRegistry::start();
    let machine = Machine::new();
    let name = format!("{}/team/built:1", registry.host());
    let project = Project::empty();
    project.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let context = project.path().to_str().unwrap();
    let kind = async || {
        let text = machine.ok(&["images", "inspect", &name]).await;
        let inspected: Value = serde_json::from_str(&text).unwrap();
        let kind = inspected[0]["layers"][0]["mediaType"].as_str().unwrap();
        kind.rsplit('.').next().unwrap().to_owned()
    };
    let build = ["containers", "build", context, "--tag", &name];
    let push = ["containers", "push", &name, "--json"];
    let sent = async |arguments: &[&str]| {
        let events = lines_of(&machine.ok(arguments).await);
        events.last().unwrap()["sent"].clone()
    };
    machine.ok(&[&build[..], &["--push"]].concat()).await;
    assert_eq!(kind().await, "tar+gzip");
    assert_eq!(sent(&push).await, 0);
    assert_eq!(
        sent(&[&push[..], &["--compression", "zstd"]].concat()).await,
        1
    );
    assert_eq!(kind().await, "tar+zstd");
    // Both are kept, and known.
    assert_eq!(sent(&push).await, 0);
    assert_eq!(kind().await, "tar+gzip");
    let config = serde_json::json!({
        "registries": { registry.host(): { "compression": "zstd" } },
    });
    std::fs::write(machine.path("data/registries.json"), config.to_string()).unwrap();
    assert_eq!(sent(&push).await, 0);
    assert_eq!(kind().await, "tar+zstd");

    let refused = machine
        .refused(&["images", "push", &name, "--compression", "lz4"])
        .await;
    assert!(refused.contains("`gzip` or `zstd`"), "{refused}");
    let refused = machine
        .refused(&[&build[..], &["--compression", "zstd"]].concat())
        .await;
    assert!(refused.contains("--push"), "{refused}");
}

#[tokio::test]
async fn a_project_and_a_dockerfile_get_their_images_from_registries() {
    let registry = DockerRegistry::start();
    let (one, two) = (Machine::new(), Machine::new());
    let base = format!("{}/base:1", registry.host());
    one.import(&base).await;
    one.ok(&["images", "push", &base]).await;

    let project = Project::empty();
    project.write("Dockerfile", format!("FROM {base}\nCOPY hello /hello\n"));
    project.write("hello", "hello\n");
    let context = project.path().to_str().unwrap();
    let built = format!("{}/team/built:1", registry.host());
    two.ok(&["containers", "build", context, "-t", &built, "--push"])
        .await;
    one.ok(&["images", "pull", &built]).await;

    // Where the registry cannot be reached, and nothing can be made, there is one error.
    project.write("Dockerfile", "FROM 127.0.0.1:1/nothing:1\n");
    let refused = two
        .refused(&["containers", "build", context, "-t", "x:1"])
        .await;
    assert!(
        refused.contains("the registry `127.0.0.1:1` cannot be reached"),
        "{refused}"
    );
    assert_eq!(refused.matches("error:").count(), 1, "{refused}");
    project.write(
        "Dockerfile",
        format!("FROM {}/nothing:1\n", registry.host()),
    );
    let refused = two
        .refused(&["containers", "build", context, "-t", "x:1"])
        .await;
    assert!(refused.contains("there is no image"), "{refused}");

    // A name without a registry is pushed where that is configured, and nowhere else.
    one.import("app:1").await;
    let refused = one.refused(&["containers", "push", "app:1"]).await;
    assert!(
        refused.contains("`app:1` does not say which registry"),
        "{refused}"
    );
    let config = format!("{{ \"default\": \"{}/mine\" }}", registry.host());
    std::fs::write(one.path("data/registries.json"), config).unwrap();
    let events = lines_of(&one.ok(&["containers", "push", "app:1", "--json"]).await);
    let expected = format!("{}/mine/app:1", registry.host());
    assert_eq!(events.last().unwrap()["reference"], expected);
    two.ok(&["images", "pull", &expected]).await;

    std::fs::write(one.path("data/registries.json"), "{ \"mirrors\": 1 }").unwrap();
    let refused = one.refused(&["containers", "push", "app:1"]).await;
    assert!(
        refused.contains("registries.json`: `mirrors` is not a field of this file"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_project_runs_an_image_of_a_registry() {
    let registry = DockerRegistry::start();
    let machine = Machine::new();
    let name = format!("{}/team/tiny:1", registry.host());
    let sources = Project::empty();
    let program = compile_static(&machine.world, crate::images::SERVER);
    sources.copy(&program, "tiny-server");
    sources.write(
        "Dockerfile",
        "FROM scratch\nCOPY tiny-server /bin/tiny-server\nENTRYPOINT [\"/bin/tiny-server\"]\nCMD [\"8080\"]\n",
    );
    let context = sources.path().to_str().unwrap();
    machine
        .ok(&["containers", "build", context, "-t", &name, "--push"])
        .await;

    let project = Project::example("hello");
    project.replace("wrangler.jsonc", "\"./Dockerfile\"", &format!("\"{name}\""));
    let session = machine.world.dev(&project).start().await;
    assert_eq!(session.text("/container/a").await, "tiny\n");
    session.stop().await;
    machine.world.run(["images", "remove", &name]).await;
}
