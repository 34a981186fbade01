//! Who may ask for what.

use axum::body::Body;
use berth_control::token::Scope;
use http::{Request, StatusCode};
use serde_json::json;

use crate::world::{World, code, world};

#[tokio::test]
async fn nothing_without_a_token_that_allows_it() {
    let world = world();
    let path = world.account("/workers/scripts");
    for header in [
        None,
        Some("Bearer nobody"),
        Some("Basic bWU6eA=="),
        Some("Bearer"),
    ] {
        let mut request = Request::builder().uri(&path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let (status, body) = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::UNAUTHORIZED, 10000),
            "{header:?}"
        );
    }
    let (_, reader) = world.control.make_token("ci", Scope::Read, None).unwrap();
    let reading = World {
        token: reader,
        ..world
    };
    assert_eq!(reading.call("GET", &path, "").await.0, StatusCode::OK);
    let delete = reading.account("/workers/services/app");
    let (status, body) = reading.call("DELETE", &delete, "").await;
    assert_eq!((status, code(&body)), (StatusCode::FORBIDDEN, 9109));
    let (status, body) = reading
        .call("GET", "/accounts/another/workers/scripts", "")
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.to_string().contains("`another`"), "{body}");
}

#[tokio::test]
async fn whoami_agrees_on_the_account() {
    let world = world();
    let id = &world.control.account().id;
    let (_, accounts) = world.call("GET", "/accounts?page=1", "").await;
    let (_, members) = world.call("GET", "/memberships?page=1", "").await;
    assert_eq!(&accounts["result"][0]["id"], id);
    assert_eq!(&members["result"][0]["account"]["id"], id);
    let (_, verified) = world.call("GET", "/user/tokens/verify", "").await;
    assert_eq!(verified["result"]["status"], "active");
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_by_an_administrator_only() {
    let world = world();
    let body = json!({"name": "ci", "scope": "read"}).to_string();
    let (status, refused) = world.call("POST", "/user/tokens", body.clone()).await;
    assert_eq!((status, code(&refused)), (StatusCode::FORBIDDEN, 9109));
    let (own, admin) = world
        .control
        .make_token("root", Scope::Admin, None)
        .unwrap();
    let world = World {
        token: admin,
        ..world
    };
    for (body, said) in [
        (json!({"scope": "read"}), "name"),
        (json!({"name": " ", "scope": "read"}), "name"),
        (json!({"name": "x"}), "scope"),
        (json!({"name": "x", "scope": "root"}), "`root`"),
        (
            json!({"name": "x", "scope": "read", "expires_on": "yesterday"}),
            "`yesterday`",
        ),
        (
            json!({"name": "x", "scope": "read", "expires_on": "2001-01-01T00:00:00Z"}),
            "2001",
        ),
    ] {
        let (status, refused) = world.call("POST", "/user/tokens", body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let (_, made) = world.call("POST", "/user/tokens", body).await;
    let id = made["result"]["id"].as_str().unwrap().to_owned();
    let text = made["result"]["value"].as_str().unwrap().to_owned();
    // In Cloudflare's words.
    let group = json!([{"id": "deploy"}]);
    let policies = json!({"name": "bot", "policies": [{"permission_groups": group}]});
    let (_, bot) = world
        .call("POST", "/user/tokens", policies.to_string())
        .await;
    assert_eq!(bot["result"]["scope"], "deploy");

    let path = format!("/user/tokens/{id}");
    let (_, one) = world.call("GET", &path, "").await;
    assert_eq!(
        one["result"]["policies"][0]["permission_groups"][0]["id"],
        "read"
    );
    assert!(one["result"].get("last_used_on").is_none());
    let reading = World {
        token: text.clone(),
        ..world
    };
    let verify = "/user/tokens/verify";
    assert_eq!(reading.call("GET", verify, "").await.0, StatusCode::OK);
    let (status, _) = reading.call("GET", "/user/tokens", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let exec = reading.account("/berth/containers/x/exec");
    let (status, refused) = reading.call("GET", &exec, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
    let backup = reading.account("/berth/backup");
    assert_eq!(
        reading.call("GET", &backup, "").await.0,
        StatusCode::FORBIDDEN
    );

    let (_, admin) = reading.control.make_token("r", Scope::Admin, None).unwrap();
    let world = World {
        token: admin,
        ..reading
    };
    let (_, listed) = world.call("GET", "/user/tokens", "").await;
    assert!(!listed.to_string().contains(&text));
    let tokens = listed["result"].as_array().unwrap();
    let used = |id: &str| {
        let mut tokens = tokens.iter();
        let found = tokens.find(|token| token["id"] == id).unwrap();
        found["last_used_on"].is_string()
    };
    assert!(used(&id) && used(&own.id));
    assert_eq!(world.call("DELETE", &path, "").await.0, StatusCode::OK);
    let (status, gone) = world.call("DELETE", &path, "").await;
    assert_eq!((status, code(&gone)), (StatusCode::NOT_FOUND, 1003));
    let revoked = World {
        token: text,
        ..world
    };
    let (status, _) = revoked.call("GET", verify, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
