use std::os::unix::fs::PermissionsExt as _;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn config(text: &str) -> (tempfile::TempDir, DockerConfig) {
    let directory = tempfile::tempdir().unwrap();
    let config = DockerConfig::in_directory(directory.path());
    fs_err::write(config.path(), text).unwrap();
    (directory, config)
}

async fn password(config: &DockerConfig, host: &str) -> Option<(String, String)> {
    let found = config.find(host, TIMEOUT).await.unwrap()?;
    Some((
        found.username()?.to_owned(),
        found.reveal_password()?.to_owned(),
    ))
}

fn pair(username: &str, password: &str) -> Option<(String, String)> {
    Some((username.to_owned(), password.to_owned()))
}

#[tokio::test]
async fn auths_are_found_under_every_name_that_docker_gives_them() {
    let auth = STANDARD.encode("me:pass:word");
    let (_directory, config) = config(&format!(
        r#"{{ "auths": {{
            "https://index.docker.io/v1/": {{ "auth": "{auth}" }},
            "https://old.example.com/v2/": {{ "username": "a", "password": "b" }},
            "r.example.com:5000": {{ "auth": "{auth}" }},
            "azure.example.com": {{ "auth": "AAAA", "identitytoken": "long-lived" }},
            "empty.example.com": {{}}
        }} }}"#
    ));
    assert_eq!(
        password(&config, "docker.io").await,
        pair("me", "pass:word")
    );
    assert_eq!(password(&config, "old.example.com").await, pair("a", "b"));
    assert_eq!(
        password(&config, "r.example.com:5000").await,
        pair("me", "pass:word")
    );
    assert_eq!(password(&config, "r.example.com").await, None);
    assert_eq!(password(&config, "empty.example.com").await, None);
    let identity = config.find("azure.example.com", TIMEOUT).await.unwrap();
    assert!(matches!(identity.unwrap().secret, Secret::Identity(token) if token == "long-lived"));
}

#[tokio::test]
async fn a_login_is_kept_as_docker_keeps_it_and_forgotten_again() {
    let (_directory, config) = config(
        r#"{ "HttpHeaders": {"X": "y"}, "auths": {"http://r.example.com/v1/": {"auth": "b2xkOm9sZA=="}} }"#,
    );
    config
        .store("r.example.com", "me", "secret", TIMEOUT)
        .await
        .unwrap();
    config
        .store("docker.io", "hub", "pw", TIMEOUT)
        .await
        .unwrap();
    let text = fs_err::read_to_string(config.path()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        json!({
            "HttpHeaders": {"X": "y"},
            "auths": {
                "r.example.com": { "auth": STANDARD.encode("me:secret") },
                "https://index.docker.io/v1/": { "auth": STANDARD.encode("hub:pw") },
            }
        })
    );
    let mode = fs_err::metadata(config.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(config.erase("docker.io", TIMEOUT).await.unwrap());
    assert!(!config.erase("docker.io", TIMEOUT).await.unwrap());
    assert_eq!(password(&config, "docker.io").await, None);
    assert_eq!(
        password(&config, "r.example.com").await,
        pair("me", "secret")
    );
}

#[tokio::test]
async fn every_mistake_names_the_file_and_the_field() {
    for (text, expected) in [
        ("[]", "`the whole file` must be an object"),
        ("{", "is not JSON"),
        (r#"{"auths": []}"#, "`auths` must be an object"),
        (
            r#"{"auths": {"x.io": 1}}"#,
            "`auths.x.io` must be an object",
        ),
        (
            r#"{"auths": {"x.io": {"auth": "%%"}}}"#,
            "`auths.x.io.auth` is not base64",
        ),
        (
            r#"{"auths": {"x.io": {"auth": 5}}}"#,
            "`auths.x.io.auth` must be a text",
        ),
        (
            r#"{"credsStore": "../evil"}"#,
            "`credsStore` must be the end of a program's name",
        ),
        (
            r#"{"credHelpers": {"x.io": 1}}"#,
            "`credHelpers.x.io` must be a text",
        ),
    ] {
        let (_directory, config) = config(text);
        let error = config.find("x.io", TIMEOUT).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("config.json"), "{error}");
    }
}

#[tokio::test]
async fn without_a_file_nobody_is_known_and_a_login_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = DockerConfig::in_directory(&directory.path().join("deep/docker"));
    assert_eq!(password(&config, "x.io").await, None);
    assert!(!config.erase("x.io", TIMEOUT).await.unwrap());
    config.store("x.io", "a", "b", TIMEOUT).await.unwrap();
    assert_eq!(password(&config, "x.io").await, pair("a", "b"));
}
