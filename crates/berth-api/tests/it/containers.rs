//! Applications of containers, and registries.

use http::StatusCode;
use serde_json::json;

use crate::world::world;

#[tokio::test]
async fn an_application_comes_back_as_it_was_sent() {
    let world = world();
    let metadata = json!({"main_module": "index.js", "containers": [{"class_name": "A"}],
        "migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["A"]}]}});
    let (status, _) = world.upload("PUT", "/workers/scripts/app", &metadata).await;
    assert_eq!(status, StatusCode::OK);
    let (_, namespaces) = world
        .call(
            "GET",
            &world.account("/workers/durable_objects/namespaces?per_page=1000&page=1"),
            "",
        )
        .await;
    let namespace = namespaces["result"][0]["id"].as_str().unwrap();
    let (_, second) = world
        .call(
            "GET",
            &world.account("/workers/durable_objects/namespaces?page=2"),
            "",
        )
        .await;
    assert_eq!(second["result"], json!([]));
    let sent = json!({"name": "app-a", "scheduling_policy": "default", "max_instances": 3,
        "configuration": {"image": "image:1", "instance_type": "lite"},
        "constraints": {"tiers": [1, 2]}, "durable_objects": {"namespace_id": namespace},
        "rollout_active_grace_period": 0});
    let path = world.account("/containers/applications");
    let (status, made) = world.call("POST", &path, sent.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let id = made["result"]["id"].as_str().unwrap();
    let (_, listed) = world.call("GET", &path, "").await;
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&listed["result"][0][name], value, "{name}");
    }
    let rollout = json!({"description": "d", "strategy": "rolling", "kind": "full_auto", "step_percentage": 100,
        "target_configuration": {"image": "image:2", "instance_type": "lite"}});
    let rollouts = format!("{path}/{id}/rollouts");
    *world.runtime.refuse.lock().unwrap() = Some("no such image".to_owned());
    let (status, refused) = world.call("POST", &rollouts, rollout.to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused.to_string().contains("no such image"));
    let (_, unchanged) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(unchanged["result"]["configuration"]["image"], "image:1");
    *world.runtime.refuse.lock().unwrap() = None;
    let (status, rolled) = world.call("POST", &rollouts, rollout.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{rolled}");
    let (_, dash) = world
        .call("GET", &world.account("/containers/dash/applications"), "")
        .await;
    assert_eq!(dash["result"][0]["image"], "image:1", "it is under way");
    let (_, shown) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(shown["result"]["configuration"]["image"], "image:2");
    let one = format!(
        "{rollouts}/{}",
        shown["result"]["active_rollout_id"].as_str().unwrap()
    );
    let (_, shown) = world.call("GET", &one, "").await;
    let shown = &shown["result"];
    assert_eq!(
        (&shown["status"], &shown["kind"]),
        (&json!("pending"), &json!("full_auto"))
    );
    assert_eq!(shown["current_configuration"]["image"], "image:1");
    let step =
        json!({"id": 1, "step_size": {"percentage": 100}, "description": "", "status": "pending"});
    assert_eq!(shown["steps"], json!([step]));
    let progress =
        json!({"total_steps": 1, "current_step": 0, "updated_instances": 0, "total_instances": 1});
    assert_eq!(shown["progress"], progress);
    let (status, acted) = world.call("POST", &one, r#"{"action": "next"}"#).await;
    assert_eq!(status, StatusCode::OK, "{acted}");
    assert_eq!(acted["result"]["rollout"]["status"], "progressing");
    let (_, acted) = world.call("POST", &one, r#"{"action": "revert"}"#).await;
    assert_eq!(acted["result"]["rollout"]["steps"][0]["status"], "reverted");
    let (status, refused) = world.call("POST", &one, r#"{"action": "next"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused.to_string().contains("is over"), "{refused}");
    let (status, _) = world.call("GET", &format!("{rollouts}/nope"), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(dash["result"][0]["health"]["instances"]["active"], 1);
    let instances = world.account(&format!("/containers/dash/applications/{id}/instances"));
    let (_, shown) = world.call("GET", &instances, "").await;
    assert_eq!(
        shown["result"]["durable_objects"][0]["deployment_id"],
        "i-1"
    );
    let (status, gone) = world.call("DELETE", &format!("{path}/{id}"), "").await;
    assert_eq!(
        (status, &gone["result"]),
        (StatusCode::OK, &json!({})),
        "never 204"
    );
    let (status, _) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, bad) = world.call("POST", &path, "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(bad.to_string().contains("`name` is missing"), "{bad}");
}

#[tokio::test]
async fn passwords_are_for_the_own_registry() {
    let world = world();
    let path = world.account("/containers/registries/registry.test:5000/credentials");
    let (_, answer) = world
        .call(
            "POST",
            &path,
            r#"{"expiration_minutes": 15, "permissions": ["push", "pull"]}"#,
        )
        .await;
    assert_eq!(answer["result"]["username"], "v1");
    assert_eq!(answer["result"]["password"], "true 900");
    let path = world.account("/containers/registries/docker.io/credentials");
    let (status, _) = world.call("POST", &path, "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn registries_have_credentials_once() {
    let world = world();
    let path = world.account("/containers/registries");
    let new = |domain: &str| {
        json!({
            "domain": domain, "is_public": false, "kind": "DockerHub",
            "auth": {"public_credential": "me", "private_credential": "hunter2"},
        })
        .to_string()
    };
    let (status, body) = world.call("POST", &path, new("docker.io")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(!body.to_string().contains("hunter2"));
    assert_eq!(world.runtime.asked.lock().unwrap()[0], "secret hunter2");
    let (status, _) = world.call("POST", &path, new("docker.io")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = world.call("POST", &path, new("a/b")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let public = r#"{"domain": "x.io", "is_public": true}"#;
    let (status, _) = world.call("POST", &path, public).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, body) = world.call("GET", &path, "").await;
    assert_eq!(body["result"][0]["domain"], "docker.io");
    let one = format!("{path}/docker.io");
    let (_, body) = world.call("DELETE", &one, "").await;
    assert_eq!(body["result"]["domain"], "docker.io");
    let (status, _) = world.call("DELETE", &one, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
