//! Logins: passwords, tokens, what they are sent to, and when they are fetched again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use berth_distribution::credentials::{DockerConfig, Kind, Vault};
use berth_distribution::{
    Client, Credential, DistributionError, HostConfig, Keyring, PullOptions, Registries,
};
use serde_json::json;

use crate::fake::Fake;
use crate::image::{Pack, TestImage};
use crate::server::{Reply, Request, Server};
use crate::{Store, options, push, reference};

fn image() -> TestImage {
    TestImage::new(3, &[Pack::Gzip, Pack::Gzip, Pack::Gzip], 20_000)
}

fn with(keyring: Keyring) -> Client {
    Client::new(Registries::default(), keyring, options())
}

fn me(host: &str) -> Keyring {
    Keyring::only(host, Credential::password("me", "s3cret", "the test"))
}

async fn pull(client: &Client, store: &Store, host: &str) -> Result<(), DistributionError> {
    let name = reference(&format!("{host}/team/app"));
    client
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .map(drop)
}

/// base64 of `me:s3cret`
const BASIC: &str = "Basic bWU6czNjcmV0";

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for() {
    let fake = Fake::with(&image(), "latest");
    let server = Server::start(move |request| match request.header("authorization") {
        Some(BASIC) => fake.reply(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"test\""),
    })
    .await;
    let host = server.host();
    let store = Store::new();
    pull(&with(me(&host)), &store, &host).await.unwrap();
    let without = server.requests();
    let without = without
        .iter()
        .filter(|r| r.header("authorization").is_none());
    assert_eq!(without.count(), 1, "only the first request");

    let error = pull(&with(Keyring::default()), &Store::new(), &host)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DistributionError::LoginNeeded { .. }),
        "{error}"
    );
    let wrong = Keyring::only(&host, Credential::password("me", "wrong", "`config.json`"));
    let error = pull(&with(wrong), &Store::new(), &host).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{host}` does not accept the credentials of `config.json`")
    );
    let store = Store::new();
    pull(&with(me("other.example.com")), &store, &host)
        .await
        .unwrap_err();
}

/// A registry with a token server beside it. Tokens are good for `uses` requests.
struct Tokens {
    registry: Server,
    tokens: Server,
}

async fn tokens(fake: Fake, uses: usize, expires_in: u64, anonymous: bool) -> Tokens {
    // Token → scopes, requests left.
    type Given = std::collections::BTreeMap<String, (BTreeSet<String>, usize)>;
    let given: Arc<Mutex<Given>> = Arc::default();
    let issuing = Arc::clone(&given);
    let server = Server::start(move |request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let identity = request.method == "POST" && body.contains("refresh_token=long-lived");
        if request.header("authorization") != Some(BASIC) && !identity && !anonymous {
            return Reply::new(401).body(r#"{"details":"incorrect username or password"}"#);
        }
        let mut given = issuing.lock().unwrap();
        let token = format!("token-{}", given.len());
        let scopes = if identity {
            BTreeSet::from(["repository:team/app:pull".to_owned()])
        } else {
            request.query("scope").into_iter().collect()
        };
        given.insert(token.clone(), (scopes, uses));
        let name = if identity { "access_token" } else { "token" };
        Reply::new(200).body(json!({ name: token, "expires_in": expires_in }).to_string())
    })
    .await;
    let realm = format!("http://{}/token?x=y", server.host());
    let registry = Server::start(move |request: &Request| {
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let mut given = given.lock().unwrap();
        let known = token.and_then(|token| given.get_mut(token));
        let error = match known {
            Some((scopes, left)) if *left > 0 => {
                *left -= 1;
                let write = !matches!(&*request.method, "GET" | "HEAD");
                let granted = |scope: &String| {
                    let actions = scope.rsplit(':').next().unwrap();
                    !write || actions.contains("push")
                };
                if scopes.iter().any(granted) {
                    return fake.reply(request);
                }
                "insufficient_scope"
            }
            _ => "invalid_token",
        };
        let challenge = format!(
            "Bearer realm=\"{realm}\",service=\"test registry\",scope=\"repository:team/app:pull\",error=\"{error}\""
        );
        Reply::new(401).header("WWW-Authenticate", challenge)
    })
    .await;
    Tokens {
        registry,
        tokens: server,
    }
}

#[tokio::test]
async fn one_token_serves_many_requests() {
    let servers = tokens(Fake::with(&image(), "latest"), usize::MAX, 300, false).await;
    let host = servers.registry.host();
    pull(&with(me(&host)), &Store::new(), &host).await.unwrap();
    let asked = servers.tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query("service"), ["test registry"]);
    assert_eq!(asked[0].query("scope"), ["repository:team/app:pull"]);
    assert_eq!(asked[0].query("x"), ["y"], "what the realm has is kept");
    // The password goes to the token server only.
    assert!(
        servers
            .registry
            .requests()
            .iter()
            .all(|r| r.header("authorization") != Some(BASIC))
    );
}

#[tokio::test]
async fn who_is_nobody_gets_a_token_too() {
    let servers = tokens(Fake::with(&image(), "latest"), usize::MAX, 300, true).await;
    let host = servers.registry.host();
    pull(&with(Keyring::default()), &Store::new(), &host)
        .await
        .unwrap();
    assert_eq!(servers.tokens.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_fetched_again() {
    let image = image();
    let servers = tokens(Fake::with(&image, "latest"), 2, 300, false).await;
    let host = servers.registry.host();
    let store = Store::new();
    let client = with(me(&host));
    pull(&client, &store, &host).await.unwrap();
    assert!(servers.tokens.requests().len() >= 2);
    // A push is many requests, of which some write.
    let fake = Fake::default();
    let servers = tokens(fake.clone(), 2, 300, false).await;
    let host = servers.registry.host();
    let stored = store.store.list().unwrap().remove(0);
    let stored = store.store.resolve(&stored.name).unwrap().unwrap();
    let name = reference(&format!("{host}/team/app"));
    let client = with(me(&host));
    push(&client, &store, &stored, &name).await.unwrap();
    assert_eq!(fake.manifest("latest").unwrap(), image.manifest);
    let asked = servers.tokens.requests();
    assert!(asked.len() >= 5, "{}", asked.len());
    assert!(
        asked
            .iter()
            .all(|r| r.query("scope") == ["repository:team/app:pull,push"])
    );
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    // It says that it ends at once: every request asks for its own.
    let servers = tokens(Fake::with(&image(), "latest"), usize::MAX, 1, false).await;
    let host = servers.registry.host();
    let client = with(me(&host));
    pull(&client, &Store::new(), &host).await.unwrap();
    let before = servers.tokens.requests().len();
    tokio::time::sleep(std::time::Duration::from_millis(950)).await;
    pull(&client, &Store::new(), &host).await.unwrap();
    assert!(servers.tokens.requests().len() > before);
    let refused = servers.registry.requests();
    let refused = refused
        .iter()
        .filter(|r| r.header("authorization").is_none());
    assert_eq!(
        refused.count(),
        1,
        "nothing was sent without a good token after the first"
    );
}

#[tokio::test]
async fn identity_tokens_of_the_docker_configuration_get_tokens() {
    let servers = tokens(Fake::with(&image(), "latest"), usize::MAX, 300, false).await;
    let host = servers.registry.host();
    let directory = tempfile::tempdir().unwrap();
    let config = DockerConfig::in_directory(directory.path());
    let text = json!({ "auths": { &host: { "identitytoken": "long-lived" } } });
    std::fs::write(config.path(), text.to_string()).unwrap();
    pull(&with(Keyring::docker(config)), &Store::new(), &host)
        .await
        .unwrap();
    let asked = servers.tokens.requests();
    assert_eq!(asked[0].method, "POST");
    let body = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(body.contains("grant_type=refresh_token"), "{body}");
    assert!(body.contains("service=test+registry"), "{body}");
    assert!(
        body.contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{body}"
    );
}

#[tokio::test]
async fn a_token_server_that_refuses_is_quoted() {
    let servers = tokens(Fake::with(&image(), "latest"), usize::MAX, 300, false).await;
    let host = servers.registry.host();
    let wrong = Keyring::only(&host, Credential::password("me", "wrong", "the test"));
    let error = with(wrong).check_login(&host).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("the test: incorrect username or password"),
        "{text}"
    );
    with(me(&host)).check_login(&host).await.unwrap();
}

/// A registry that names this token server.
async fn with_realm(realm: &str) -> Server {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
    Server::start(move |_| Reply::new(401).header("WWW-Authenticate", challenge.clone())).await
}

#[tokio::test]
async fn credentials_go_to_no_token_server_elsewhere() {
    let thief = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    // The same machine under another name: to us it is another host.
    let realm = format!("http://localhost:{}/token", thief.address.port());
    let server = with_realm(&realm).await;
    let host = server.host();
    let error = with(me(&host)).check_login(&host).await.unwrap_err();
    assert!(
        matches!(error, DistributionError::ForeignRealm { .. }),
        "{error}"
    );
    assert!(thief.requests().is_empty());
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains(r#""realms": ["localhost"]"#), "{report}");
    // Where it is allowed it is asked.
    let config = HostConfig {
        realms: vec!["localhost".to_owned()],
        ..HostConfig::default()
    };
    let registries = Registries::default().with_host(&host, config);
    let client = Client::new(registries, me(&host), options());
    client.check_login(&host).await.unwrap_err();
    assert_eq!(thief.requests()[0].header("authorization"), Some(BASIC));
}

#[tokio::test]
async fn token_servers_have_tls_and_answer_with_tokens() {
    for (realm, expected) in [
        (
            "http://10.255.255.1/token",
            "names a token server without TLS",
        ),
        (
            "ftp://127.0.0.1/token",
            "names a token server that is not HTTP",
        ),
        ("/token", "names a token server that is no URL"),
    ] {
        let server = with_realm(realm).await;
        let error = with(Keyring::default())
            .check_login(&server.host())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{realm}: {error}");
    }
    for (body, expected) in [
        ("{}", "without a token"),
        ("<html>", "without a token"),
        (r#"{"token":""}"#, "without a token"),
        (r#"{"token":"a\nb"}"#, "odd characters"),
    ] {
        let tokens = Server::start(move |_| Reply::new(200).body(body)).await;
        let server = with_realm(&format!("http://{}/t", tokens.host())).await;
        let error = with(Keyring::default())
            .check_login(&server.host())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
    }
    // A challenge that nobody understands, and one that never ends.
    let server = Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Negotiate")).await;
    let error = with(Keyring::default())
        .check_login(&server.host())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DistributionError::Refused { status: 401, .. }),
        "{error}"
    );
    let tokens = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    let server = with_realm(&format!("http://{}/t", tokens.host())).await;
    let error = with(Keyring::default())
        .check_login(&server.host())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DistributionError::LoginNeeded { .. }),
        "{error}"
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn what_may_be_read_may_still_not_be_written() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let server = Server::start(move |request| {
        if request.method == "POST" {
            let error = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
            return Reply::new(403).body(error);
        }
        if request.method == "HEAD" {
            return Reply::new(404);
        }
        fake.reply(request)
    })
    .await;
    let host = server.host();
    let store = Store::new();
    pull(&with(Keyring::default()), &store, &host)
        .await
        .unwrap();
    let name = reference(&format!("{host}/team/app"));
    let stored = store.store.resolve(&name.canonical()).unwrap().unwrap();
    let client = with(Keyring::default());
    let error = push(&client, &store, &stored, &name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{host}` does not let an anonymous user push `{name}`: read only (DENIED)")
    );
}

#[tokio::test]
async fn what_is_configured_is_used_and_comes_before_docker() {
    let data = tempfile::tempdir().unwrap();
    let vault = Vault::open(data.path());
    let fake = Fake::with(&image(), "latest");
    let server = Server::start(move |request| match request.header("authorization") {
        Some(BASIC) => fake.reply(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"test\""),
    })
    .await;
    let host = server.host();
    vault.add(&host, Kind::Default, "me", "s3cret").unwrap();
    pull(&with(Keyring::vault(vault)), &Store::new(), &host)
        .await
        .unwrap();
}
