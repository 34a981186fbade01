//! Tokens and passwords: who may do what, and for how long.

use berth_registry::auth::{Actions, Anonymous, Grant, Identity, Pattern};
use berth_registry::auth::{SignedCredentials, SigningKey};
use serde_json::json;

use crate::support::{Answer, Server, sha256};

/// A password of the tests' server: `team/*` with these actions.
fn password(pattern: &str, actions: Actions, seconds: Option<u64>) -> String {
    let key = SigningKey::new(&[7; 32]).unwrap();
    let identity = Identity {
        name: "test".into(),
        grants: vec![Grant {
            repositories: Pattern::try_from(pattern.to_owned()).unwrap(),
            actions,
        }],
    };
    SignedCredentials::new(key, Anonymous::Nothing).issue(&identity, seconds)
}

async fn with_password(server: &Server, method: &str, path: &str, password: &str) -> Answer {
    let request = server
        .request(method, path)
        .basic_auth("v1", Some(password));
    Answer::of(request.send().await.unwrap()).await
}

async fn token(server: &Server, scopes: &[&str], password: Option<&str>) -> Answer {
    let scopes: String = scopes
        .iter()
        .map(|scope| format!("&scope={scope}"))
        .collect();
    let mut request = server.request("GET", &format!("/v2/token?service=berth{scopes}"));
    if let Some(password) = password {
        request = request.basic_auth("v1", Some(password));
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn with_token(server: &Server, method: &str, path: &str, token: &str) -> Answer {
    let request = server.request(method, path).bearer_auth(token);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_challenge_leads_to_a_token_that_allows_what_was_asked() {
    let server = Server::start(json!({"anonymous": "nothing"}));
    let uploads = "/v2/team/app/blobs/uploads/";
    for (method, path, scope) in [
        ("GET", "/v2/", None),
        (
            "GET",
            "/v2/team/app/tags/list",
            Some("repository:team/app:pull"),
        ),
        ("POST", uploads, Some("repository:team/app:pull,push")),
        (
            "DELETE",
            "/v2/team/app/manifests/x",
            Some("repository:team/app:delete"),
        ),
        ("GET", "/v2/_catalog", Some("registry:catalog:*")),
        ("PUT", "/v2/gc/layers", None),
    ] {
        let answer = server
            .send(method, path, "")
            .await
            .error(401, "UNAUTHORIZED");
        let realm = format!(
            "Bearer realm=\"http://{}/v2/token\",service=\"berth\"",
            server.address
        );
        let scope = scope
            .map(|scope| format!(",scope=\"{scope}\""))
            .unwrap_or_default();
        assert_eq!(answer.header("www-authenticate"), realm + &scope, "{path}");
    }
    token(&server, &[], None).await.error(401, "UNAUTHORIZED");
    token(&server, &[], Some("wrong"))
        .await
        .error(401, "UNAUTHORIZED");
    let password = password(
        "team/*",
        Actions {
            pull: true,
            push: true,
            delete: false,
        },
        Some(60),
    );
    let asked = [
        "repository:team/app:pull,push,delete",
        "repository:other:pull",
    ];
    let answer = token(&server, &asked, Some(&password))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["expires_in"], 300);
    assert_eq!(answer["token"], answer["access_token"]);
    let token = answer["token"].as_str().unwrap();
    with_token(&server, "GET", "/v2/", token).await.expect(200);
    with_token(&server, "POST", uploads, token)
        .await
        .expect(202);
    for (method, path) in [
        ("DELETE", "/v2/team/app/manifests/x"),
        ("GET", "/v2/other/tags/list"),
        ("GET", "/v2/team/lib/tags/list"),
        ("GET", "/v2/_catalog"),
    ] {
        with_token(&server, method, path, token)
            .await
            .error(401, "UNAUTHORIZED");
    }
    // Docker's other form.
    let form = format!(
        "grant_type=password&service=berth&username=v1&password={password}&scope=repository%3Ateam%2Fapp%3Apull"
    );
    let answer = server
        .send("POST", "/v2/token", form)
        .await
        .expect(200)
        .json();
    let token = answer["access_token"].as_str().unwrap();
    with_token(&server, "POST", uploads, token)
        .await
        .error(401, "UNAUTHORIZED");
    with_token(&server, "GET", "/v2/team/app/tags/list", token)
        .await
        .error(404, "NAME_UNKNOWN");
    server
        .send("POST", "/v2/token", "grant_type=refresh_token")
        .await
        .error(400, "UNSUPPORTED");
}

#[tokio::test]
async fn basic_works_directly_as_wrangler_uses_it() {
    let server = Server::start(json!({"anonymous": "nothing"}));
    let all = password("*", Actions::ALL, Some(60));
    let reader = password("team/app", Actions::PULL, Some(60));
    let uploads = "/v2/team/app/blobs/uploads/";
    let digest = sha256(b"");
    let mount = format!("{uploads}?digest={digest}");
    with_password(&server, "POST", &mount, &all)
        .await
        .expect(201);
    let blob = format!("/v2/team/app/blobs/{digest}");
    with_password(&server, "GET", &blob, &reader)
        .await
        .expect(200);
    with_password(&server, "POST", uploads, &reader)
        .await
        .error(403, "DENIED");
    with_password(&server, "DELETE", &blob, &reader)
        .await
        .error(403, "DENIED");
    with_password(&server, "GET", "/v2/other/tags/list", &reader)
        .await
        .error(403, "DENIED");
    with_password(&server, "PUT", "/v2/gc/layers", &reader)
        .await
        .error(403, "DENIED");
    with_password(&server, "PUT", "/v2/gc/layers", &all)
        .await
        .expect(200);
    with_password(&server, "GET", "/v2/_catalog?tags=true", &reader)
        .await
        .expect(200);
    let expired = password("*", Actions::ALL, Some(0));
    for wrong in [expired.as_str(), "", "x", &all[1..], &"a".repeat(60_000)] {
        let answer = with_password(&server, "GET", "/v2/", wrong).await;
        assert!(
            matches!(answer.status.as_u16(), 401 | 431),
            "{wrong:.20}: {answer:?}"
        );
    }
    for header in [
        "Basic",
        "Basic !!",
        "Basic eDp5",
        "Digest x",
        "Bearer",
        "Bearer a.b",
        "\u{e9}",
    ] {
        let request = server
            .request("GET", "/v2/")
            .header("authorization", header);
        Answer::of(request.send().await.unwrap())
            .await
            .error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn anonymous_clients_may_read_if_that_is_wanted() {
    let server = Server::start(json!({"anonymous": "read"}));
    // Docker asks here whether it must log in to push.
    server.get("/v2/").await.error(401, "UNAUTHORIZED");
    let answer = token(&server, &["repository:a:pull,push"], None)
        .await
        .expect(200)
        .json();
    let token = answer["token"].as_str().unwrap();
    with_token(&server, "GET", "/v2/a/tags/list", token)
        .await
        .error(404, "NAME_UNKNOWN");
    let uploads = "/v2/a/blobs/uploads/";
    with_token(&server, "POST", uploads, token)
        .await
        .error(401, "UNAUTHORIZED");
    server
        .get("/v2/a/tags/list")
        .await
        .error(404, "NAME_UNKNOWN");
    server
        .send("POST", uploads, "")
        .await
        .error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_of_a_push_is_renewed_and_the_push_goes_on() {
    let server = Server::start(json!({"anonymous": "nothing", "token_ms": 1000}));
    let password = password("*", Actions::ALL, None);
    let scope = ["repository:a:pull,push"];
    let new_token = async || {
        let answer = token(&server, &scope, Some(&password))
            .await
            .expect(200)
            .json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let first = new_token().await;
    let begun = with_token(&server, "POST", "/v2/a/blobs/uploads/", &first)
        .await
        .expect(202);
    let location = begun.header("location");
    let patch = async |token: &str, body: &'static str| {
        let request = server
            .request("PATCH", &location)
            .bearer_auth(token)
            .body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    patch(&first, "hello").await.expect(202);
    // Until it has expired.
    let refused = loop {
        let answer = with_token(&server, "GET", "/v2/", &first).await;
        if answer.status == 401 {
            break answer;
        }
    };
    assert!(refused.has("www-authenticate"));
    patch(&first, "world").await.error(401, "UNAUTHORIZED");
    let second = new_token().await;
    patch(&second, "world").await.expect(202);
    let digest = sha256(b"helloworld");
    let finish = format!("{location}?digest={digest}");
    with_token(&server, "PUT", &finish, &new_token().await)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_blob_is_mounted_only_with_read_access_to_its_source() {
    let server = Server::start(json!({"anonymous": "nothing"}));
    let all = password("*", Actions::ALL, None);
    let digest = sha256(b"");
    let path = format!("/v2/secret/app/blobs/uploads/?digest={digest}");
    with_password(&server, "POST", &path, &all)
        .await
        .expect(201);
    let other = password("other/*", Actions::ALL, None);
    let from = format!("/v2/other/app/blobs/uploads/?mount={digest}&from=secret/app");
    let anywhere = format!("/v2/other/app/blobs/uploads/?mount={digest}");
    for path in [&from, &anywhere] {
        with_password(&server, "POST", path, &other)
            .await
            .expect(202);
    }
    let blob = format!("/v2/other/app/blobs/{digest}");
    with_password(&server, "HEAD", &blob, &other)
        .await
        .expect(404);
    // A token for one repository is none for the other, whoever asked for it: it may be asked for
    // (by clients that do not think of it themselves), and whoever does not get it uploads.
    let push = "repository:other/app:pull,push";
    let narrow = token(&server, &[push], Some(&all)).await.expect(200).json();
    let narrow = narrow["token"].as_str().unwrap();
    let refused = with_token(&server, "POST", &from, narrow).await;
    let challenge = refused
        .error(401, "UNAUTHORIZED")
        .header("www-authenticate");
    let scope = format!("{push} repository:secret/app:pull");
    assert!(
        challenge.ends_with(&format!("scope=\"{scope}\"")),
        "{challenge}"
    );
    with_token(&server, "POST", &anywhere, narrow)
        .await
        .expect(202);
    let denied = token(&server, &[&scope], Some(&other))
        .await
        .expect(200)
        .json();
    with_token(&server, "POST", &from, denied["token"].as_str().unwrap())
        .await
        .expect(202);
    let wide = token(&server, &[&scope], Some(&all)).await;
    let wide = wide.expect(200).json();
    with_token(&server, "POST", &from, wide["token"].as_str().unwrap())
        .await
        .expect(201);
    with_password(&server, "HEAD", &blob, &other)
        .await
        .expect(200);
}

#[tokio::test]
async fn the_list_of_repositories_shows_what_may_be_read() {
    let server = Server::start(json!({"anonymous": "nothing"}));
    let all = password("*", Actions::ALL, None);
    let empty = sha256(b"");
    for name in ["team/a", "team/b", "other"] {
        let blob = format!("/v2/{name}/blobs/uploads/?digest={empty}");
        with_password(&server, "POST", &blob, &all)
            .await
            .expect(201);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": crate::support::IMAGE, "layers": [],
            "config": crate::support::descriptor("application/x", b""),
        });
        let request = server.request("PUT", &format!("/v2/{name}/manifests/1"));
        let request = request
            .basic_auth("v1", Some(&all))
            .body(manifest.to_string());
        Answer::of(request.send().await.unwrap()).await.expect(201);
    }
    let reader = password("team/*", Actions::PULL, None);
    let answer = with_password(&server, "GET", "/v2/_catalog", &reader)
        .await
        .expect(200);
    assert_eq!(answer.json(), json!({"repositories": ["team/a", "team/b"]}));
    let token = token(&server, &["registry:catalog:*"], Some(&reader))
        .await
        .expect(200)
        .json();
    let token = token["token"].as_str().unwrap();
    let answer = with_token(&server, "GET", "/v2/_catalog?tags=true", token)
        .await
        .expect(200);
    assert_eq!(
        answer.json(),
        json!({"repositories": {"team/a": ["1"], "team/b": ["1"]}})
    );
    // It lists; it does not open.
    with_token(&server, "GET", "/v2/team/a/tags/list", token)
        .await
        .error(401, "UNAUTHORIZED");
}
