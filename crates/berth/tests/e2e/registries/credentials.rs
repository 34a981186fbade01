//! Who may ask a registry: logins, helpers, what is configured.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use berth_test::DockerRegistry;
use serde_json::Value;

use super::Machine;

#[tokio::test]
async fn logins_are_kept_where_docker_keeps_them() {
    let registry = DockerRegistry::with_password();
    let host = registry.host();
    let machine = Machine::new();
    let name = format!("{host}/app:1");
    machine.import(&name).await;
    let refused = machine.refused(&["images", "push", &name]).await;
    assert!(refused.contains("wants to know who you are"), "{refused}");
    assert!(
        refused.contains(&format!("berth docker login {host}")),
        "{refused}"
    );

    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        "me",
        host,
    ];
    let output = machine.input(&login, "wrong\n").await;
    assert!(!output.status.success());
    assert!(!machine.path("home/.docker/config.json").exists());
    let output = machine.input(&login, "s3cret\n").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Login Succeeded\n");
    // base64 of `me:s3cret`
    assert_eq!(
        machine.docker_config()["auths"][host]["auth"],
        "bWU6czNjcmV0"
    );
    let mode = std::fs::metadata(machine.path("home/.docker/config.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    machine.ok(&["images", "push", &name]).await;
    let printed = machine
        .ok(&["docker", "manifest", "inspect", "-v", &name])
        .await;
    let described: Value = serde_json::from_str(&printed).unwrap();
    assert!(
        described["Descriptor"]["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    machine.ok(&["docker", "logout", host]).await;
    machine.refused(&["images", "pull", &name]).await;

    let output = machine
        .input(&["docker", "login", "-u", "me", host], "")
        .await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--password-stdin"), "{errors}");
}

/// A credential helper that keeps one secret in a file.
fn install_helper(machine: &Machine, body: &str) {
    let path = machine.path("bin/docker-credential-test");
    std::fs::write(
        &path,
        format!(
            "#!/bin/sh\ncd '{}'\n{body}",
            machine.directory.path().display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn credential_helpers_are_asked() {
    let registry = DockerRegistry::with_password();
    let host = registry.host();
    let machine = Machine::new();
    let config = format!(r#"{{ "credHelpers": {{ "{host}": "test" }} }}"#);
    let config_path = machine.path("home/.docker/config.json");
    std::fs::write(&config_path, &config).unwrap();
    let name = format!("{host}/app:1");
    machine.import(&name).await;
    let refused = machine.refused(&["images", "push", &name]).await;
    assert!(
        refused.contains("`docker-credential-test` is not installed"),
        "{refused}"
    );
    assert!(refused.contains("config.json"), "{refused}");

    install_helper(
        &machine,
        r#"case "$1" in
store) cat > secret ;;
get) read server; test -s secret && exec cat secret
     echo "credentials not found in native keychain"; exit 1 ;;
erase) rm secret ;;
esac"#,
    );
    let refused = machine.refused(&["images", "push", &name]).await;
    assert!(refused.contains("wants to know who you are"), "{refused}");
    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        "me",
        host,
    ];
    let output = machine.input(&login, "s3cret").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        machine.docker_config()["auths"][host],
        serde_json::json!({})
    );
    let stored = std::fs::read_to_string(machine.path("secret")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&stored).unwrap(),
        serde_json::json!({ "ServerURL": host, "Username": "me", "Secret": "s3cret" })
    );
    machine.ok(&["images", "push", &name]).await;
    machine.ok(&["docker", "logout", host]).await;
    assert!(!machine.path("secret").exists());

    for (body, expected) in [
        (
            "echo the vault is locked; exit 3",
            "failed at `get`: the vault is locked",
        ),
        ("echo nonsense", "answered something that is not JSON"),
    ] {
        install_helper(&machine, body);
        let refused = machine.refused(&["images", "push", &name]).await;
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(refused.matches("error:").count(), 1, "{refused}");
    }
}

#[tokio::test]
async fn configured_registries_are_used_and_their_secrets_are_encrypted() {
    let registry = DockerRegistry::with_password();
    let host = registry.host();
    let machine = Machine::new();
    let name = format!("{host}/app:1");
    machine.import(&name).await;
    let registries = ["containers", "registries"];
    let with = |rest: &[&'static str]| [&registries[..], rest].concat();
    let configure = [
        "containers",
        "registries",
        "configure",
        host,
        "--username",
        "me",
    ];
    let output = machine.input(&configure, "").await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the password is empty"), "{errors}");
    let output = machine.input(&configure, "s3cret\n").await;
    assert!(output.status.success(), "{output:?}");
    let output = machine.input(&configure, "s3cret\n").await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("is configured already"), "{errors}");
    machine.ok(&["images", "push", &name]).await;

    for entry in walk(&machine.path("data")) {
        let bytes = std::fs::read(&entry).unwrap();
        let found = bytes.windows(6).any(|window| window == b"s3cret");
        assert!(!found, "the secret is in {}", entry.display());
    }
    let list: Value = serde_json::from_str(&machine.ok(&with(&["list", "--json"])).await).unwrap();
    assert_eq!(
        (&list[0]["domain"], &list[0]["kind"]),
        (&host.into(), &"default".into())
    );
    let credentials = ["containers", "registries", "credentials", host, "--pull"];
    assert_eq!(machine.ok(&credentials).await, "s3cret\n");
    let delete = ["containers", "registries", "delete", host, "--json"];
    machine.ok(&delete).await;
    let refused = machine.refused(&delete).await;
    assert!(refused.contains("is not configured"), "{refused}");
    machine.refused(&["images", "push", &name]).await;

    // wrangler's flags, each for its kind of registry.
    let key = r#"{"private_key":"k","client_email":"a@b.iam.gserviceaccount.com"}"#;
    for (domain, flag, value, secret) in [
        ("docker.io", "--dockerhub-username", "me", "token"),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "--aws-access-key-id",
            "AKIA",
            "key",
        ),
        (
            "europe-west1-docker.pkg.dev",
            "--gar-email",
            "a@b.iam.gserviceaccount.com",
            key,
        ),
    ] {
        let arguments = [
            "containers",
            "registries",
            "configure",
            domain,
            flag,
            value,
            "--secret-name=x",
            "-y",
        ];
        let output = machine.input(&arguments, secret).await;
        assert!(output.status.success(), "{output:?}");
    }
    let printed = machine.ok(&with(&["list"])).await;
    for expected in ["docker.io", "DockerHub", "ECR", "GAR"] {
        assert!(printed.contains(expected), "{printed}");
    }
    for (arguments, expected) in [
        (
            ["docker.io", "--aws-access-key-id=x"],
            "--aws-access-key-id is not for `docker.io`",
        ),
        (
            ["https://x.io", "--username=x"],
            "is not the host of a registry",
        ),
        (
            ["index.docker.io", "--username=x"],
            "Docker Hub is `docker.io`",
        ),
        (["x.io", "-y"], "`x.io` needs --username"),
    ] {
        let arguments = [&registries[..], &["configure"], &arguments].concat();
        let output = machine.input(&arguments, "secret").await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(expected), "{errors}");
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(walk(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn an_access_key_of_aws_is_exchanged_for_a_token() {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let mut body = [0; 2];
        reader.read_exact(&mut body).unwrap();
        // base64 of `AWS:temporary`
        let answer = r#"{"authorizationData":[{"authorizationToken":"QVdTOnRlbXBvcmFyeQ==","expiresAt":4102444800.5}]}"#;
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}"
        )
        .unwrap();
        (head, body)
    });
    let machine = Machine::new();
    let domain = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let configure = [
        "containers",
        "registries",
        "configure",
        domain,
        "--aws-access-key-id",
        "AKIDEXAMPLE",
    ];
    assert!(
        machine
            .input(&configure, "wJalrXUtnFEMI")
            .await
            .status
            .success()
    );
    let mut command = machine.world.command();
    command
        .args([
            "containers",
            "registries",
            "credentials",
            domain,
            "--pull",
            "--json",
        ])
        .env("BERTH_DATA_DIR", machine.path("data"))
        .env("AWS_ENDPOINT_URL_ECR", endpoint);
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&printed["username"], &printed["password"]),
        (&"AWS".into(), &"temporary".into())
    );
    let (head, body) = answering.join().unwrap();
    let head = head.to_lowercase();
    assert_eq!(&body, b"{}");
    for expected in [
        "post / http/1.1",
        "x-amz-target: amazonec2containerregistry_v20150921.getauthorizationtoken",
        "authorization: aws4-hmac-sha256 credential=akidexample/",
        "/eu-west-1/ecr/aws4_request, signedheaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, signature=",
    ] {
        assert!(head.contains(expected), "{head}");
    }
}
