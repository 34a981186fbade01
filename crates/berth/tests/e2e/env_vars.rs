//! `examples/env-vars`: every way a value reaches a container, and that state persists.

use berth_test::{Client, Project};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::world;

fn project() -> Project {
    let project = Project::example("env-vars");
    let secrets = project.read(".dev.vars.example");
    project.write(".dev.vars", secrets);
    project
}

async fn variables(session: &Client, path: &str) -> Value {
    session.get(path).await.ok().json()["variables"].clone()
}

async fn verify(session: &Client, key: &str) -> StatusCode {
    let mut request = session.request(Method::GET, "/verify", "");
    request
        .headers_mut()
        .insert("X-API-Key", key.parse().unwrap());
    session.send(request).await.status
}

/// Values from the class, the image, the configuration, secrets and the platform.
pub(crate) async fn drive(session: &Client) {
    let reply = session.get("/default").await.ok().json();
    assert_eq!(reply["buildInfo"], "Built version 1.2.3");
    assert_eq!(reply["apiKeyLength"], "change-me".len());
    let variables_seen = &reply["variables"];
    for (name, value) in [
        ("FROM_CLASS", "set in the class"),
        ("FROM_IMAGE", "set in the Dockerfile"),
        ("BUILD_VERSION", "1.2.3"),
        ("STAGE", "development"),
    ] {
        assert_eq!(variables_seen[name], value, "{name}");
    }
    for name in [
        "APPLICATION_ID",
        "DEPLOYMENT_ID",
        "DURABLE_OBJECT_ID",
        "LOCATION",
        "REGION",
        "COUNTRY_A2",
        "NODE_ID",
        "PLACEMENT_ID",
    ] {
        let name = format!("CLOUDFLARE_{name}");
        let value = variables_seen[&name].as_str().unwrap_or_default();
        assert!(!value.is_empty(), "{name} is not set in {variables_seen}");
        assert!(!value.contains("xxxx"), "{name} is a placeholder: {value}");
    }
    assert_eq!(verify(session, "change-me").await, StatusCode::OK);
    assert_eq!(verify(session, "wrong").await, StatusCode::FORBIDDEN);

    session.put("/settings/alice", "dark mode").await.ok();
    let alice = variables(session, "/instance/alice").await;
    assert_eq!(
        (&alice["INSTANCE_NAME"], &alice["SETTING"]),
        (&"alice".into(), &"dark mode".into())
    );
    assert_eq!(
        alice["FROM_CLASS"],
        Value::Null,
        "start options replace the class's variables"
    );
    let bob = variables(session, "/instance/bob").await;
    assert_eq!(
        (&bob["INSTANCE_NAME"], &bob["SETTING"]),
        (&"bob".into(), &"none".into())
    );
    assert_ne!(
        alice["CLOUDFLARE_DURABLE_OBJECT_ID"],
        bob["CLOUDFLARE_DURABLE_OBJECT_ID"]
    );
    assert_eq!(
        alice["CLOUDFLARE_APPLICATION_ID"],
        bob["CLOUDFLARE_APPLICATION_ID"]
    );
}

#[tokio::test]
async fn values_arrive_from_every_source() {
    let session = world().dev(&project()).start().await;
    drive(session.client()).await;
    session.stop().await;
}

#[tokio::test]
async fn an_environment_and_a_variable_of_the_session_win() {
    let project = project();
    let session = world()
        .dev(&project)
        .args(["--env", "staging"])
        .start()
        .await;
    let reply = session.get("/default").await.ok().json();
    assert_eq!(reply["variables"]["STAGE"], "staging");
    assert_eq!(reply["buildInfo"], "Built version 1.2.3-staging");
    session.stop().await;
    let session = world()
        .dev(&project)
        .args(["--var", "STAGE:preview"])
        .start()
        .await;
    assert_eq!(
        variables(session.client(), "/default").await["STAGE"],
        "preview"
    );
    session.stop().await;
}

#[tokio::test]
async fn state_persists_where_it_is_told_to() {
    let project = project();
    let elsewhere = Project::empty();
    let elsewhere = elsewhere.path().to_str().unwrap();
    for persist_to in [None, Some(elsewhere)] {
        let dev = || match persist_to {
            Some(directory) => world().dev(&project).args(["--persist-to", directory]),
            None => world().dev(&project),
        };
        let session = dev().start().await;
        assert_eq!(
            variables(session.client(), "/instance/carol").await["SETTING"],
            "none"
        );
        session.client().put("/settings/carol", "kept").await.ok();
        session.stop().await;
        let session = dev().start().await;
        assert_eq!(
            variables(session.client(), "/instance/carol").await["SETTING"],
            "kept"
        );
        session.stop().await;
    }
    assert!(project.path().join(".berth/state").is_dir());
}
