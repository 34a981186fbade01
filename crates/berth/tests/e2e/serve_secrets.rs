//! Secrets are where they are needed and nowhere else: no file, no answer, no log, no process's command line
//! or environment.

use std::path::Path;

use berth_test::{Program, Project, ServerSession};
use http::Method;
use serde_json::Value;

use crate::deployed::{add_program, answering};
use crate::world;

/// Answers with what its environment has.
const KEEPER: Program = Program {
    name: "keeper",
    source: answering!(
        "",
        r#"
            reply(peer, getenv("SECRET"));
"#
    ),
};

const CONFIG: &str = r#"{
  "name": "keeper",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "observability": { "enabled": true },
  "containers": [{ "class_name": "Keeper", "image": "./Dockerfile", "max_instances": 3 }],
  "durable_objects": { "bindings": [{ "name": "KEEPER", "class_name": "Keeper" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Keeper"] }]
}"#;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Keeper extends DurableObject {
  async fetch(request) {
    const { container } = this.ctx;
    if (!container.running) container.start({ env: { SECRET: this.env.TO_CONTAINER ?? "none" } });
    return container.getTcpPort(8080).fetch(request);
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/container") return env.KEEPER.getByName("a").fetch(request);
    console.log("it has", env.KEY.length, "letters");
    return new Response(env.KEY);
  },
};
"#;

/// Where a text is below a directory.
fn files_with(directory: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        let path = entry.path();
        if kind.is_dir() {
            files_with(&path, needle, found);
        } else if kind.is_file() && file_has(&path, needle).unwrap_or_default() {
            found.push(path.display().to_string());
        }
    }
}

/// Reads only what there is of a file: disks of containers are large and hardly anything is in them.
fn file_has(path: &Path, needle: &str) -> std::io::Result<bool> {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(path)?;
    let mut end = 0;
    while let Ok(begin) = seek(&file, SeekFrom::Data(end)) {
        end = seek(&file, SeekFrom::Hole(begin))?;
        let mut bytes = vec![0; usize::try_from(end - begin).expect("it fits into memory")];
        file.read_exact_at(&mut bytes, begin)?;
        if has(&bytes, needle) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has(bytes: &[u8], needle: &str) -> bool {
    let needle = needle.as_bytes();
    let mut rest = bytes;
    // Slices are searched faster for one byte than for windows.
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Processes that show a text, but for the program that is to have it.
fn processes_with(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
        let command = read("cmdline");
        let shown = has(&command, needle) || has(&read("environ"), needle);
        if shown && !command.starts_with(b"/keeper") {
            let command = String::from_utf8_lossy(&command).into_owned();
            found.push(format!("{:?}: {command}", process.file_name()));
        }
    }
    found
}

/// Every answer of the API that could have one in it.
async fn answers(server: &ServerSession) -> String {
    let mut all = String::new();
    let get = async |path: &str| {
        let answer = server.api(Method::GET, path, Value::Null).await;
        (answer.text(), path.to_owned())
    };
    let (versions, _) = get("/workers/scripts/keeper/versions").await;
    let versions: Value = serde_json::from_str(&versions).unwrap();
    let mut paths = vec![
        "/workers/scripts".to_owned(),
        "/workers/scripts/keeper/settings".to_owned(),
        "/workers/scripts/keeper/script-settings".to_owned(),
        "/workers/scripts/keeper/secrets".to_owned(),
        "/workers/scripts/keeper/deployments".to_owned(),
        "/workers/workers/keeper".to_owned(),
        "/containers/applications".to_owned(),
        "/containers/dash/applications".to_owned(),
        "/berth/logs?limit=10000".to_owned(),
    ];
    for version in versions["result"]["items"].as_array().unwrap() {
        let id = version["id"].as_str().unwrap();
        paths.push(format!("/workers/scripts/keeper/versions/{id}"));
    }
    for path in paths {
        let (text, path) = get(&path).await;
        all.push_str(&format!("{path}: {text}\n"));
    }
    all
}

#[tokio::test]
async fn secrets_show_nowhere() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    add_program(&world, &project, KEEPER);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let random = tempfile::Builder::new().rand_bytes(20).tempdir().unwrap();
    let random = random.path().file_name().unwrap().to_string_lossy();
    let secrets = [format!("worker{random}"), format!("container{random}")];
    for (name, secret) in ["KEY", "TO_CONTAINER"].into_iter().zip(&secrets) {
        server
            .wrangler_ok(&project, ["secret", "put", name], secret)
            .await;
    }
    assert_eq!(server.text("keeper", "/").await, secrets[0]);
    assert_eq!(server.text("keeper", "/container").await, secrets[1]);

    let token = server.variable("CLOUDFLARE_API_TOKEN").to_owned();
    let answers = answers(&server).await;
    assert!(answers.contains("it has"), "logs are among them: {answers}");
    let transcript = server.transcript();
    for text in secrets.iter().chain([&token]) {
        assert!(!answers.contains(text.as_str()), "{text} in {answers}");
        assert!(
            !transcript.contains(text.as_str()),
            "{text} in {transcript}"
        );
        assert_eq!(processes_with(text), [""; 0], "{text}");
    }
    for secret in &secrets {
        let mut files = Vec::new();
        files_with(data.path(), secret, &mut files);
        assert_eq!(files, [""; 0], "{secret}");
    }
    let mut files = Vec::new();
    files_with(data.path(), &token, &mut files);
    let client = data.path().join("keys/client.json").display().to_string();
    assert_eq!(files, [client], "the token of this machine");
    server.stop().await;
}
