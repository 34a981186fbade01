//! Uploads, versions, and what a Worker is given.

use http::StatusCode;
use serde_json::json;

use crate::world::{code, world};

#[tokio::test]
async fn what_is_not_there_has_cloudflares_codes() {
    let world = world();
    for (method, path, expected) in [
        ("GET", "/workers/services/app", 10007),
        ("GET", "/workers/scripts/app/secrets", 10007),
        ("GET", "/workers/scripts/app/deployments", 10007),
        ("GET", "/workers/scripts/app/versions/x", 10007),
        ("GET", "/workers/workers/app", 10007),
        ("GET", "/workers/nothing", 7000),
        ("GET", "/r2/buckets/none", 10006),
        ("PUT", "/workers/scripts/app/subdomain", 0),
        ("PUT", "/workers/scripts/app", 0),
        ("POST", "/workers/scripts/app/deployments?force=perhaps", 0),
    ] {
        let (status, body) = world.call(method, &world.account(path), "{}").await;
        if expected == 0 {
            assert!(!status.is_success(), "{path}");
            continue;
        }
        assert_eq!(
            (status, code(&body)),
            (StatusCode::NOT_FOUND, expected),
            "{path}"
        );
    }
    world.deploy().await;
    let (status, body) = world
        .call("GET", &world.account("/workers/scripts/app/versions/x"), "")
        .await;
    assert_eq!((status, code(&body)), (StatusCode::NOT_FOUND, 100_146));
}

#[tokio::test]
async fn an_upload_is_tried_out_before_it_is_live() {
    let world = world();
    let uploaded = world.deploy().await;
    let id = uploaded["deployment_id"].as_str().unwrap();
    assert_eq!(
        *world.runtime.asked.lock().unwrap(),
        ["check Some(1)", "settled app"]
    );
    *world.runtime.refuse.lock().unwrap() = Some("it throws".to_owned());
    let metadata = json!({"main_module": "index.js"});
    let (status, body) = world.upload("PUT", "/workers/scripts/app", &metadata).await;
    assert_eq!((status, code(&body)), (StatusCode::BAD_REQUEST, 10021));
    assert!(body.to_string().contains("it throws"));
    let worker = world.control.worker("app").unwrap();
    assert_eq!(
        (worker.versions.len(), worker.live().unwrap().id.as_str()),
        (1, id)
    );
    let (_, service) = world
        .call("GET", &world.account("/workers/services/app"), "")
        .await;
    let script = &service["result"]["default_environment"]["script"];
    assert_eq!(script["last_deployed_from"], "wrangler");
    assert!(script.get("migration_tag").is_none(), "absent, not null");
}

#[tokio::test]
async fn versions_are_deployed_whole() {
    let world = world();
    world.deploy().await;
    let metadata = json!({"main_module": "index.js", "annotations": {"workers/message": "two"}});
    let (_, made) = world
        .upload("POST", "/workers/scripts/app/versions", &metadata)
        .await;
    let version = made["result"]["id"].as_str().unwrap();
    assert!(made["result"]["resources"]["script"]["etag"].is_string());
    let deployments = world.account("/workers/scripts/app/deployments");
    for (body, expected) in [
        ("nonsense".to_owned(), "cannot be understood"),
        (json!({"strategy": "percentage", "versions": []}).to_string(), "100 %"),
        (
            json!({"strategy": "percentage", "versions": [{"version_id": version, "percentage": 50}]}).to_string(),
            "100 %",
        ),
    ] {
        let (status, answer) = world.call("POST", &deployments, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.to_string().contains(expected), "{answer}");
    }
    let body = json!({"strategy": "percentage", "versions": [{"version_id": version, "percentage": 100}],
                      "annotations": {"workers/message": null}});
    let (status, _) = world.call("POST", &deployments, body.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let (_, listed) = world.call("GET", &deployments, "").await;
    let newest = &listed["result"]["deployments"][0];
    assert_eq!(
        newest["versions"],
        json!([{"version_id": version, "percentage": 100}])
    );
}

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let world = world();
    world.deploy().await;
    let secrets = world.account("/workers/scripts/app/secrets");
    let body = json!({"name": "KEY", "text": "hunter2", "type": "secret_text"}).to_string();
    assert_eq!(world.call("PUT", &secrets, body).await.0, StatusCode::OK);
    let bulk = json!({"secrets": {"KEY": null, "OTHER": {"name": "OTHER", "text": "swordfish", "type": "secret_text"}}});
    let path = world.account("/workers/scripts/app/secrets-bulk");
    assert_eq!(
        world.call("PATCH", &path, bulk.to_string()).await.0,
        StatusCode::OK
    );
    let (_, listed) = world.call("GET", &secrets, "").await;
    assert_eq!(
        listed["result"],
        json!([{"name": "OTHER", "type": "secret_text"}])
    );
    for path in ["/settings", "/versions", "/script-settings"] {
        let path = world.account(&format!("/workers/scripts/app{path}"));
        let (_, body) = world.call("GET", &path, "").await;
        let text = body.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("swordfish"),
            "{text}"
        );
    }
    let gone = world.call("DELETE", &format!("{secrets}/KEY"), "").await;
    assert_eq!((gone.0, code(&gone.1)), (StatusCode::NOT_FOUND, 10056));
}

#[tokio::test]
async fn triggers_and_settings_are_echoed() {
    let world = world();
    world.deploy().await;
    let subdomain = world.account("/workers/scripts/app/subdomain");
    let (_, answer) = world.call("POST", &subdomain, r#"{"enabled": true}"#).await;
    assert_eq!(
        answer["result"],
        json!({"enabled": true, "previews_enabled": false})
    );
    let (_, worker) = world
        .call("GET", &world.account("/workers/workers/app"), "")
        .await;
    assert_eq!(
        worker["result"]["subdomain"]["url"],
        "http://app.example.test"
    );
    let schedules = world.account("/workers/scripts/app/schedules");
    let (_, answer) = world
        .call("PUT", &schedules, r#"[{"cron": "* * * * *"}]"#)
        .await;
    assert_eq!(answer["result"]["schedules"][0]["cron"], "* * * * *");
    let settings = world.account("/workers/scripts/app/script-settings");
    world
        .call("PATCH", &settings, r#"{"tags": ["a"], "logpush": true}"#)
        .await;
    let (_, answer) = world.call("PATCH", &settings, r#"{"logpush": null}"#).await;
    assert_eq!(answer["result"], json!({"tags": ["a"]}));
}

#[tokio::test]
async fn schedules_that_would_not_start_change_nothing() {
    let world = world();
    world.deploy().await;
    let path = world.account("/workers/scripts/app/schedules");
    let set = |cron: &str| json!([{ "cron": cron }]).to_string();
    let (status, _) = world.call("PUT", &path, set("0 2 * * *")).await;
    assert_eq!(status, StatusCode::OK);
    for bad in ["", "daily", "61 * * * *"] {
        let (status, body) = world.call("PUT", &path, set(bad)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.to_string().contains("not a cron expression"), "{body}");
    }
    // What only workerd refuses.
    *world.runtime.refuse.lock().unwrap() = Some("no".to_owned());
    let (status, _) = world.call("PUT", &path, set("1 2 * * *")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, body) = world.call("GET", &path, "").await;
    assert_eq!(body["result"]["schedules"], json!([{"cron": "0 2 * * *"}]));
}
