//! Images from and to registries, by every command that does it: against Debian's `docker-registry`
//! and our own, with credentials from wherever they are kept.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_test::{DockerRegistry, Project, World, compile_static};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::world;

/// A machine of its own: data directory, home, and programs in its `PATH`.
struct Machine {
    world: World,
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["home/.docker", "data", "bin"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        Self {
            world: world(),
            directory,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.world.command();
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command
            .args(arguments)
            .env("BERTH_DATA_DIR", self.path("data"))
            .env("HOME", self.path("home"))
            .env("PATH", path)
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }

    /// Its own registry, and where that listens.
    async fn registry(&self, listen: &str) -> (tokio::process::Child, String) {
        use tokio::io::AsyncBufReadExt as _;
        let mut command = self.world.command();
        command
            .args(["registry", "serve", "--listen", listen, "--json"])
            .env("BERTH_DATA_DIR", self.path("data"))
            .stdout(Stdio::piped());
        let mut server = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = server.stdout.take().unwrap();
        let mut lines = tokio::io::BufReader::new(out).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        (server, ready["address"].as_str().unwrap().to_owned())
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.input(arguments, "").await
    }

    /// What it prints, if it succeeds.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains about.
    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// An image of one file.
    async fn import(&self, name: &str) {
        let tree = Project::empty();
        tree.write("etc/motd", format!("this is {name}\n"));
        let tar = self.path("rootfs.tar");
        let status = std::process::Command::new("tar")
            .args(["--create", "--file"])
            .arg(&tar)
            .arg("--directory")
            .arg(tree.path())
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        self.ok(&["images", "import", tar.to_str().unwrap(), name])
            .await;
    }

    fn docker_config(&self) -> Value {
        let text = std::fs::read(self.path("home/.docker/config.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn images_are_pushed_and_pulled() {
    let registry = DockerRegistry::start();
    let (one, two) = (Machine::new(), Machine::new());
    let name = format!("{}/team/app:1", registry.host());
    one.import(&name).await;
    let printed = one.ok(&["images", "push", &name]).await;
    assert!(printed.starts_with("1: digest: sha256:"), "{printed}");
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events[0]["event"], "resolved", "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["fetched"]),
        (&"pulled".into(), &1.into())
    );
    let list = two.ok(&["images", "list", "--json"]).await;
    assert!(list.contains(&name), "{list}");
    // Again: nothing is sent, nothing is fetched.
    let events = lines_of(&one.ok(&["images", "push", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["sent"], 0);
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["fetched"], 0);
    assert_eq!(
        two.ok(&["images", "pull", "--quiet", &name]).await,
        format!("{name}\n")
    );

    let refused = two
        .refused(&["images", "pull", &format!("{name}-none")])
        .await;
    assert!(refused.contains("there is no image"), "{refused}");
    let refused = two.refused(&["images", "push", "nothing:1"]).await;
    assert!(
        refused.contains("there is no image `nothing:1` on this machine"),
        "{refused}"
    );
    let refused = two
        .refused(&["images", "pull", &name, "--platform", "linux/s390x"])
        .await;
    assert!(
        refused.contains("is not for linux/s390x, but for linux/"),
        "{refused}"
    );
    let refused = two
        .refused(&["images", "pull", &name, "--platform", "x"])
        .await;
    assert!(refused.contains("`x` is not a platform"), "{refused}");
}

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

/// `[::1]:5000/x` is a name, with everything that a name does: login, tokens, push, pull by digest.
#[tokio::test]
async fn a_registry_may_have_an_address_of_ipv6() {
    let machine = Machine::new();
    let (_server, host) = machine.registry("[::1]:0").await;
    assert!(host.starts_with("[::1]:"), "{host}");
    let name = format!("{host}/team/app:1");
    machine.import(&name).await;
    let grant = ["registry", "credentials", "--grant", "*=pull,push"];
    let password = machine.ok(&grant).await;
    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        "v1",
        &host,
    ];
    let output = machine.input(&login, password.trim()).await;
    assert!(output.status.success(), "{output:?}");
    assert!(machine.docker_config()["auths"][&host].is_object());
    machine.ok(&["images", "push", &name]).await;
    let inspected = machine.ok(&["images", "inspect", &name]).await;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let digest = inspected[0]["digest"].as_str().unwrap();
    machine.ok(&["images", "delete", &name]).await;
    let by_digest = format!("{host}/team/app@{digest}");
    machine.ok(&["images", "pull", &by_digest]).await;
    let list = machine.ok(&["images", "list", "--json"]).await;
    assert!(list.contains(&by_digest), "{list}");
    let refused = machine.refused(&["images", "pull", "[::1:5000/x"]).await;
    assert!(refused.contains("IPv6"), "{refused}");
}

#[tokio::test]
async fn our_own_registry_is_pushed_to_and_pulled_from() {
    let (one, two) = (Machine::new(), Machine::new());
    let (mut server, host) = one.registry("127.0.0.1:0").await;
    let name = format!("{host}/team/app:1");
    one.import(&name).await;
    let refused = one.refused(&["images", "push", &name]).await;
    assert!(refused.contains("wants to know who you are"), "{refused}");

    let credentials = [
        "containers",
        "registries",
        "credentials",
        "--push",
        "--pull",
        "--json",
    ];
    let pair: Value = serde_json::from_str(&one.ok(&credentials).await).unwrap();
    let (user, password) = (
        pair["username"].as_str().unwrap(),
        pair["password"].as_str().unwrap(),
    );
    for machine in [&one, &two] {
        let login = [
            "docker",
            "login",
            "--password-stdin",
            "--username",
            user,
            &host,
        ];
        let output = machine.input(&login, password).await;
        assert!(output.status.success(), "{output:?}");
    }
    one.ok(&["images", "push", &name]).await;
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["fetched"], 1);
    // What allows to pull does not allow to push.
    let only_pull = one
        .ok(&["containers", "registries", "credentials", "--pull"])
        .await;
    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        user,
        &host,
    ];
    assert!(two.input(&login, &only_pull).await.status.success());
    two.ok(&["images", "pull", &name]).await;
    let other = format!("{host}/team/other:1");
    two.import(&other).await;
    let refused = two.refused(&["images", "push", &other]).await;
    assert_eq!(refused.matches("error:").count(), 1, "{refused}");

    // A password of the operator's, and a collection beside the server, which takes nothing that is needed.
    let grant = ["registry", "credentials", "--grant", "team/*=pull"];
    let only_pull = one.ok(&grant).await;
    assert!(two.input(&login, only_pull.trim()).await.status.success());
    let collect = ["registry", "gc", "--grace", "0s", "--json"];
    let collected: Value = serde_json::from_str(&one.ok(&collect).await).unwrap();
    assert_eq!(collected["manifests"], 0, "{collected}");
    two.ok(&["images", "delete", "--force", &name]).await;
    two.ok(&["images", "pull", &name]).await;
    server.kill().await.unwrap();
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

/// A way to a registry on which answers stop after so many bytes in all; how many have passed.
async fn throttled(registry: &str) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    use tokio::io::AsyncReadExt as _;
    let (limit, passed) = (
        Arc::new(AtomicUsize::new(usize::MAX)),
        Arc::new(AtomicUsize::new(0)),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (registry, limits, count) = (registry.to_owned(), limit.clone(), passed.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&registry).await.unwrap();
            let (limit, passed) = (limits.clone(), count.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    tokio::io::copy(&mut from_client, &mut to_server).await.ok()
                });
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read) = from_server.read(&mut buffer).await {
                    if passed.fetch_add(read, Ordering::Relaxed) >= limit.load(Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (host, limit, passed)
}

/// The length of the largest file below a directory.
fn largest_file(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let lengths = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    lengths.max().unwrap_or_default()
}

#[tokio::test]
async fn a_pull_that_was_killed_is_gone_on_with() {
    const SIZE: usize = 40_000_000;
    let registry = DockerRegistry::start();
    let (one, two) = (Machine::new(), Machine::new());
    let name = format!("{}/large:1", registry.host());
    let tree = Project::empty();
    // It does not compress.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(SIZE / 8)
    .flatten()
    .collect();
    tree.write(
        "Dockerfile",
        format!("FROM scratch\nCOPY noise /noise\nLABEL name={name}\n"),
    );
    tree.write("noise", noise);
    let context = tree.path().to_str().unwrap();
    one.ok(&["containers", "build", context, "-t", &name, "--push"])
        .await;

    let (host, limit, passed) = throttled(registry.host()).await;
    let name = format!("{host}/large:1");
    let whole = {
        let third = Machine::new();
        third.ok(&["images", "pull", &name]).await;
        passed.swap(0, Ordering::Relaxed)
    };
    limit.store(whole / 2, Ordering::Relaxed);
    let mut command = two.world.command();
    command
        .args(["images", "pull", &name])
        .env("BERTH_DATA_DIR", two.path("data"))
        .env("HOME", two.path("home"));
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // What has passed is not yet what is kept: some of it is on its way.
    let stuck = async {
        while passed.load(Ordering::Relaxed) < whole / 2
            || largest_file(&two.path("data")) < (whole * 3 / 8) as u64
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(berth_test::PATIENCE, stuck)
        .await
        .unwrap();
    child.kill().await.unwrap();
    assert_eq!(two.ok(&["images", "list", "--json"]).await.trim(), "[]");
    passed.store(0, Ordering::Relaxed);
    limit.store(usize::MAX, Ordering::Relaxed);
    two.ok(&["images", "pull", &name]).await;
    let rest = passed.load(Ordering::Relaxed);
    assert!(
        rest < whole * 3 / 4,
        "{rest} of {whole} bytes were fetched again"
    );
}

#[tokio::test]
async fn wranglers_push_finds_the_digest() {
    let registry = DockerRegistry::with_password();
    let world = world();
    let engine = world.engine().await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().to_str().unwrap();
    let host = registry.host();
    let login = [
        "--config",
        config,
        "login",
        "--password-stdin",
        "--username",
        "me",
        host,
    ];
    engine.docker_ok(login, "s3cret").await;
    let (local, remote) = (
        "wrangler-push:abc",
        format!("{host}/account/wrangler-push:abc"),
    );
    engine
        .docker_ok(
            ["build", "--load", "-t", local, "-f", "-", "/etc/apt"],
            &format!("FROM scratch\nCOPY . /x\nLABEL at={host}\n"),
        )
        .await;
    engine.docker_ok(["tag", local, &remote], "").await;
    // Docker's configuration is that of the flag.
    let refused = engine.docker(["push", &remote], "").await;
    assert!(!refused.status.success(), "{refused:?}");
    let pushed = engine
        .docker_ok(["--config", config, "push", &remote], "")
        .await;
    let digest = pushed.split_whitespace().nth(2).unwrap().to_owned();
    let format = [
        "image",
        "inspect",
        &remote,
        "--format",
        "{{ json .RepoDigests }}",
    ];
    let digests: Vec<String> = serde_json::from_str(&engine.docker_ok(format, "").await).unwrap();
    assert_eq!(digests, [format!("{host}/account/wrangler-push@{digest}")]);
    let by_digest = format!("{host}/account/wrangler-push@{digest}");
    let described = engine
        .docker_ok(
            ["--config", config, "manifest", "inspect", "-v", &by_digest],
            "",
        )
        .await;
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["Descriptor"]["digest"], digest);
    engine.docker_ok(["rmi", local, &remote], "").await;
    engine
        .docker_ok(
            [
                "--config",
                config,
                "pull",
                &remote,
                "--platform",
                "linux/amd64",
            ],
            "",
        )
        .await;
    engine.docker_ok(["rmi", &remote], "").await;
    engine.stop().await;
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
