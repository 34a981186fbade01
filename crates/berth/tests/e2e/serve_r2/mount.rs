//! A container that reaches the S3 endpoint, and mounts a bucket with s3fs where it is allowed to.

use berth_test::Project;
use serde_json::Value;

use super::{key, server};

const CONFIG: &str = r#"{
  "name": "mounted",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "r2_buckets": [{ "binding": "R2_BUCKET", "bucket_name": "shared" }],
  "containers": [{ "class_name": "R2FileProcessor", "image": "./Dockerfile", "max_instances": 2 }],
  "durable_objects": { "bindings": [{ "name": "R2_PROCESSOR", "class_name": "R2FileProcessor" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["R2FileProcessor"] }]
}"#;

/// As the seeds have it: the bucket's name and its keys reach the container at its start.
const WORKER: &str = r#"
import { Container } from "@cloudflare/containers";
export class R2FileProcessor extends Container {
  defaultPort = 8080;
  sleepAfter = "10m";
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/bucket/")) {
      const found = await env.R2_BUCKET.get(pathname.slice(8));
      return new Response(found ? await found.text() : "not there");
    }
    await env.R2_BUCKET.put("from-the-worker", "written by a Worker");
    const container = env.R2_PROCESSOR.getByName("processor");
    await container.startAndWaitForPorts({
      startOptions: {
        envVars: {
          R2_BUCKET_NAME: "shared",
          AWSACCESSKEYID: env.R2_ACCESS_KEY,
          AWSSECRETACCESSKEY: env.R2_SECRET_KEY,
        },
      },
    });
    return container.fetch(request);
  },
};
"#;

/// The seeds' image with Debian's s3fs in place of tigrisfs, and another endpoint.
const DOCKERFILE: &str = "
FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends s3fs busybox curl
COPY start.sh /start.sh
CMD [\"sh\", \"/start.sh\"]
";

const START: &str = r#"
mkdir -p /mnt/r2 /www
curl -s -o /www/endpoint -w '%{http_code}' http://s3.berth.internal/ > /www/status
if s3fs "$R2_BUCKET_NAME" /mnt/r2 -o url=http://s3.berth.internal -o use_path_request_style -o endpoint=auto \
    2> /www/mount && cat /mnt/r2/from-the-worker > /www/read; then
  echo "written in a container" > /mnt/r2/from-the-container
  echo mounted > /www/mount
fi
exec busybox httpd -f -p 8080 -h /www
"#;

#[tokio::test]
async fn a_container_mounts_a_bucket() {
    let data = tempfile::tempdir().unwrap();
    crate::world().add_base_images(data.path());
    let (server, _) = server(data.path(), "[containers]\nfuse = true\n").await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project.write("Dockerfile", DOCKERFILE);
    project.write("start.sh", START);
    project.install(&crate::world(), "@cloudflare/containers", "0.3.7");
    let new = serde_json::json!({ "name": "shared" });
    server
        .api(http::Method::POST, "/r2/buckets", new)
        .await
        .ok();
    let (id, secret) = key(data.path(), &["mount", "--bucket", "shared"]);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let secrets = serde_json::json!({ "R2_ACCESS_KEY": id, "R2_SECRET_KEY": secret });
    let secrets = secrets.to_string();
    server
        .wrangler_ok(&project, ["secret", "bulk"], &secrets)
        .await;

    let status = server.text("mounted", "/status").await;
    assert_eq!(
        status,
        "403",
        "unsigned: {}",
        server.text("mounted", "/endpoint").await
    );
    let mount = server.text("mounted", "/mount").await;
    assert_eq!(mount.trim(), "mounted");
    assert_eq!(server.text("mounted", "/read").await, "written by a Worker");
    let back = server.text("mounted", "/bucket/from-the-container").await;
    assert_eq!(back.trim(), "written in a container");
    let info: Value = server
        .api(http::Method::GET, "/r2/buckets/shared/usage", Value::Null)
        .await
        .json();
    assert_eq!(info["result"]["objectCount"], "2", "{info}");
    server.stop().await;
}
