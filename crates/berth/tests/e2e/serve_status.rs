//! `berth status` of a server that is not well: it says what is wrong, and fails.

use std::path::Path;
use std::process::Command;

use berth_test::{Project, ServerSession};
use serde_json::Value;

use crate::world;

/// What `berth status` says, and whether it succeeds.
async fn status(server: &ServerSession) -> (Value, bool) {
    let nowhere = Project::empty();
    let output = server.berth(&nowhere, ["status", "--json"], "", &[]).await;
    let status = serde_json::from_slice(&output.stdout);
    let status = status.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (status, output.status.success())
}

fn problems(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().unwrap().iter();
    problems.filter_map(Value::as_str).collect()
}

/// Puts another module in the place of the one with this text.
fn damage(directory: &Path, text: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += damage(&path, text);
        } else if std::fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "throw new Error('it is broken');").unwrap();
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn a_worker_that_does_not_start_is_named() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let deploy = async |server: &ServerSession, name: &str, text: &str| {
        let project = Project::empty();
        project.write(
            "wrangler.json",
            format!(
                r#"{{"name": "{name}", "main": "index.js", "compatibility_date": "2026-11-01"}}"#
            ),
        );
        project.write(
            "index.js",
            format!("export default {{ fetch: () => new Response('{text}') }};"),
        );
        server.wrangler_ok(&project, ["deploy"], "").await;
    };
    deploy(&server, "good", "this one is good").await;
    deploy(&server, "bad", "this one goes bad").await;
    let (well, ok) = status(&server).await;
    assert!(ok && problems(&well).is_empty(), "{well}");
    assert_eq!(well["certificates"], serde_json::json!([]));
    server.stop().await;

    let damaged = damage(&data.path().join("server/modules"), "this one goes bad");
    assert!(damaged > 0);
    let server = world.server(data.path()).await;
    assert_eq!(server.text("good", "/").await, "this one is good");
    let (ill, ok) = status(&server).await;
    assert!(!ok && ill["healthy"] == false, "{ill}");
    let said = problems(&ill);
    let [problem] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert!(problem.starts_with("`bad` does not run: "), "{problem}");
    let workers = ill["workers"].as_array().unwrap().iter();
    let states = workers.map(|one| format!("{} {}", one["name"], one["state"]));
    let states: Vec<_> = states.collect();
    assert_eq!(states, [r#""bad" "failed""#, r#""good" "running""#]);

    // For people, too.
    let nowhere = Project::empty();
    let shown = server.berth(&nowhere, ["status"], "", &[]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(!shown.status.success());
    assert!(text.contains("Problem     `bad` does not run"), "{text}");

    // What is deployed anew is well again.
    deploy(&server, "bad", "it is mended").await;
    assert_eq!(server.text("bad", "/").await, "it is mended");
    let (well, ok) = status(&server).await;
    assert!(ok, "{well}");
    server.stop().await;
}

/// A file system of its own, which ends with the value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "the tests run as root");
        Self(directory)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_and_old_certificates_are_named() {
    let world = world();
    let disk = Disk::new("size=64m");
    let data = disk.0.path();
    let day = time::Duration::days(1);
    for (file, names, ends) in [
        ("fresh", ["fresh.example", "also.example"].as_slice(), 90),
        ("soon", &["soon.example"], 3),
        ("over", &["over.example"], -1),
    ] {
        certificate(&data.join(file), names, day * ends);
    }
    let pair = |name: &str| format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}");
    let settings = format!(
        "[listen]\nhttps = \"127.0.0.1:0\"\n[tls]\ncertificates = [{}, {}, {}]\n",
        pair("fresh"),
        pair("soon"),
        pair("over")
    );
    std::fs::write(data.join("berth.toml"), settings).unwrap();
    let server = world.server(data).await;
    let (ill, ok) = status(&server).await;
    assert!(!ok, "{ill}");
    let certificates = ill["certificates"].as_array().unwrap().iter();
    let names: Vec<_> = certificates
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "over.example",
            "soon.example",
            "fresh.example, also.example"
        ],
        "the one that ends first comes first"
    );
    let said = problems(&ill);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("the certificate of `over.example` has ended: "));
    assert!(said[1].starts_with("the certificate of `soon.example` ends soon: "));

    std::fs::write(data.join("much"), vec![1; 62 << 20]).unwrap();
    let (full, _) = status(&server).await;
    let said = problems(&full);
    assert!(
        said.iter().any(|problem| problem.contains("almost full")),
        "{said:?}"
    );
    std::fs::remove_file(data.join("much")).unwrap();
    let (enough, _) = status(&server).await;
    assert_eq!(problems(&enough).len(), 2, "{enough}");
    server.stop().await;
}

/// A certificate of these names that ends in so long, and its key.
fn certificate(path: &Path, names: &[&str], ends: time::Duration) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(30);
    params.not_after = now + ends;
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    std::fs::write(path.with_extension("pem"), made.pem()).unwrap();
    std::fs::write(path.with_extension("key"), key.serialize_pem()).unwrap();
}
