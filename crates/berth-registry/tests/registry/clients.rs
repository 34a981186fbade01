//! The clients that people use: skopeo and podman from Debian.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;

use berth_registry::auth::{Actions, Anonymous, Grant, Identity, Pattern};
use berth_registry::auth::{SignedCredentials, SigningKey};
use serde_json::json;

use crate::support::{Image, Server};

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let here = |name: &str| Path::new("/usr/bin").join(name).exists();
        if here("skopeo") && here("podman") {
            return;
        }
        apt_install(&["skopeo", "podman"]);
    });
}

/// Installs Debian packages.
pub(crate) fn apt_install(packages: &[&str]) {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Services must not start, and other tests may be installing something.
            .env("RUNLEVEL", "1")
            .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments);
        assert!(command.status().unwrap().success(), "apt-get {arguments:?}");
    };
    apt(&["update"]);
    let install = ["install", "-y", "--no-install-recommends"];
    apt(&[&install[..], packages].concat());
}

/// A password of the tests' server for everything.
pub(crate) fn password() -> String {
    let key = SigningKey::new(&[7; 32]).unwrap();
    let identity = Identity {
        name: "test".into(),
        grants: vec![Grant {
            repositories: Pattern::all(),
            actions: Actions::ALL,
        }],
    };
    SignedCredentials::new(key, Anonymous::Nothing).issue(&identity, Some(600))
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output: Output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A layer with one file.
pub(crate) fn layer() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("hello"), "hello\n").unwrap();
    let path = directory.path().to_str().unwrap();
    Command::new("tar")
        .args(["-C", path, "-cf", "-", "hello"])
        .output()
        .unwrap()
        .stdout
}

/// Logged in by Docker's token protocol: pushes and pulls need the challenge, a token for two
/// repositories, and a blob mounted from one to the other.
#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_lists_and_deletes() {
    install();
    let server = Server::start(json!({"anonymous": "nothing"}));
    let open = Server::start(json!({}));
    open.push_image("from/app", "1", &layer()).await;
    let credentials = format!("v1:{}", password());
    let (at, other) = (
        format!("docker://{}", server.address),
        format!("docker://{}", open.address),
    );
    let to = ["--dest-tls-verify=false", "--dest-creds", &credentials];
    let from = ["--src-tls-verify=false", "--src-creds", &credentials];
    let copy = ["copy", "--insecure-policy"];
    let source = format!("{other}/from/app:1");
    let first = format!("{at}/team/app:1");
    let anyone = ["--src-tls-verify=false", "--src-no-creds"];
    run(
        "skopeo",
        &[&copy[..], &anyone, &to, &[&source, &first]].concat(),
    );
    let second = format!("{at}/team/lib:1");
    run(
        "skopeo",
        &[&copy[..], &from, &to, &[&first, &second]].concat(),
    );
    // As Docker schema 2, compressed with zstd is OCI only.
    let docker = format!("{at}/team/app:docker");
    run(
        "skopeo",
        &[
            &copy[..],
            &from,
            &to,
            &["--format", "v2s2", &first, &docker],
        ]
        .concat(),
    );
    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:back", directory.path().join("oci").display());
    run("skopeo", &[&copy[..], &from, &[&docker, &layout]].concat());
    let creds = ["--tls-verify=false", "--creds", &credentials];
    let name = format!("{at}/team/app");
    let tags = run("skopeo", &[&["list-tags"][..], &creds, &[&name]].concat());
    let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags["Tags"], json!(["1", "docker"]));
    let inspected = run(
        "skopeo",
        &[&["inspect", "--raw"][..], &creds, &[&docker]].concat(),
    );
    assert!(inspected.contains("application/vnd.docker.distribution.manifest.v2+json"));
    run("skopeo", &[&["delete"][..], &creds, &[&docker]].concat());
    let tags = run("skopeo", &[&["list-tags"][..], &creds, &[&name]].concat());
    assert!(!tags.contains("docker\""), "{tags}");
    let refused = Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false", "--no-creds", &name])
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_tags_and_pushes() {
    install();
    let server = Server::start(json!({}));
    let image = Image::new(&layer());
    image.push_blobs(&server, "team/app").await;
    server
        .push_manifest("team/app", "1", &image.manifest)
        .await
        .expect(201);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root").display().to_string();
    let state = directory.path().join("state").display().to_string();
    let podman = |arguments: &[&str]| {
        let own = [
            "--root",
            &root,
            "--runroot",
            &state,
            "--storage-driver",
            "vfs",
        ];
        run("podman", &[&own[..], arguments].concat())
    };
    let policy = directory.path().join("policy.json");
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let policy = format!("--signature-policy={}", policy.display());
    let first = format!("{}/team/app:1", server.address);
    let second = format!("{}/other/app:2", server.address);
    podman(&["pull", "-q", &policy, "--tls-verify=false", &first]);
    podman(&["tag", &first, &second]);
    podman(&["push", "-q", &policy, "--tls-verify=false", &second]);
    server.check_image("other/app", "2").await;
    podman(&["rmi", "-f", &first, &second]);
    podman(&["pull", "-q", &policy, "--tls-verify=false", &second]);

    // With a login, by Docker's token protocol: push, and pull by digest.
    let closed = Server::start(json!({"anonymous": "nothing"}));
    let auth = format!(
        "--authfile={}",
        directory.path().join("auth.json").display()
    );
    let third = format!("{}/team/app:3", closed.address);
    podman(&["tag", &second, &third]);
    let password = password();
    let login = ["-u", "v1", "-p", &password, &closed.address];
    podman(&[&["login", &auth, "--tls-verify=false"][..], &login].concat());
    let digest = directory.path().join("digest");
    let file = format!("--digestfile={}", digest.display());
    podman(&[
        "push",
        "-q",
        &policy,
        &auth,
        &file,
        "--tls-verify=false",
        &third,
    ]);
    podman(&["rmi", "-f", &second, &third]);
    let digest = std::fs::read_to_string(digest).unwrap();
    let by_digest = format!("{}/team/app@{}", closed.address, digest.trim());
    podman(&[
        "pull",
        "-q",
        &policy,
        &auth,
        "--tls-verify=false",
        &by_digest,
    ]);
    podman(&["logout", &auth, &closed.address]);
}
