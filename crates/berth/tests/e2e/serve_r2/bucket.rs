//! Bytes of objects in another bucket, of moto, a stand-in for S3.

use berth_test::{Moto, Project};

use super::{CONFIG, WORKER};
use crate::world;

#[tokio::test]
async fn bytes_are_in_the_bucket_that_the_settings_name() {
    let s3 = Moto::start("bytes").await;
    let data = tempfile::tempdir().unwrap();
    let settings = |prefix: &str| {
        let text = format!(
            "[r2]\nbucket = \"bytes\"\nprefix = \"{prefix}\"\nendpoint = \"{}\"\n",
            s3.endpoint()
        );
        std::fs::write(data.path().join("berth.toml"), text).unwrap();
    };
    settings("own/r2");
    let start = async || world().server_in(data.path(), &[], &s3.variables()).await;
    let server = start().await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    let create = ["r2", "bucket", "create", "files"];
    server.wrangler_ok(&project, create, "").await;
    server.wrangler_ok(&project, ["deploy"], "").await;
    let told = server.get("files", "/all").await.ok().json();
    assert_eq!(told["wrong"], serde_json::json!([]), "{told:#}");
    let object = ["r2", "object", "put", "files/key", "--pipe", "--remote"];
    server
        .wrangler_ok(&project, object, "kept in the bucket")
        .await;
    assert!(!data.path().join("server/r2/blobs").exists());
    let names = s3.keys().await;
    assert!(!names.is_empty());
    assert!(
        names.iter().all(|name| name.starts_with("own/r2/")),
        "{names:?}"
    );

    // What was written is there after a kill; another place is refused by name.
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    settings("elsewhere");
    let mut command = world().command();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"])
        .args(["--registry", "127.0.0.1:0"])
        .env("BERTH_DATA_DIR", data.path())
        .envs(s3.variables());
    let output = tokio::process::Command::from(command).output().await;
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("`own/r2`") && said.contains("`elsewhere`"),
        "{said}"
    );
    settings("own/r2");
    let server = start().await;
    let read = server.text("files", "/read?key=key").await;
    assert!(read.ends_with(": kept in the bucket"), "{read}");
    server
        .wrangler_ok(
            &project,
            ["r2", "object", "delete", "files/key", "--remote"],
            "",
        )
        .await;
    server.stop().await;
}
