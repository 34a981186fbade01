//! awscli, s3cmd and rclone of Debian against the S3 endpoint.

use std::process::Command;

use berth_test::ServerSession;
use http::Method;
use serde_json::{Value, json};

use super::{blobs, install, key, ok, server};

/// Bytes that are not the same anywhere.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(count)
    .collect()
}

/// The rules of the bucket `made` on a topic, as the API has them.
async fn of_api(server: &ServerSession, topic: &str) -> Value {
    let path = format!("/r2/buckets/made/{topic}");
    let answer = server.api(Method::GET, &path, Value::Null).await;
    answer.ok().json()["result"]["rules"].clone()
}

#[tokio::test]
async fn debian_s_s3_clients_work() {
    install(&[("aws", "awscli"), ("s3cmd", "s3cmd"), ("rclone", "rclone")]);
    let data = tempfile::tempdir().unwrap();
    let (server, endpoint) = server(data.path(), "").await;
    let (id, secret) = key(data.path(), &["clients", "--permission", "admin"]);
    let work = tempfile::tempdir().unwrap();
    let work = work.path();
    std::fs::create_dir_all(work.join("tree/sub dir")).unwrap();
    std::fs::write(work.join("tree/a.txt"), "a").unwrap();
    std::fs::write(work.join("tree/sub dir/ü+b.txt"), "b").unwrap();
    let large = bytes(50 << 20);
    std::fs::write(work.join("large"), &large).unwrap();

    let program = |name: &str| {
        let mut command = Command::new(name);
        command
            .current_dir(work)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", work);
        command
            .env("AWS_ACCESS_KEY_ID", &id)
            .env("AWS_SECRET_ACCESS_KEY", &secret);
        command
            .env("AWS_DEFAULT_REGION", "auto")
            .env("LC_ALL", "C.UTF-8");
        command
    };
    let text = |command: &mut Command| String::from_utf8(ok(command).stdout).unwrap();
    let aws = |arguments: &[&str]| {
        text(
            program("aws")
                .args(["--endpoint-url", &endpoint])
                .args(arguments),
        )
    };
    let same = |path: &str| assert!(std::fs::read(work.join(path)).unwrap() == large, "{path}");

    // awscli: buckets, one file, a tree, parts, ranges, addresses that are signed.
    aws(&["s3", "mb", "s3://made"]);
    assert!(aws(&["s3", "ls"]).contains("made"));
    aws(&[
        "s3",
        "cp",
        "large",
        "s3://made/parts/large",
        "--metadata",
        "own=word",
    ]);
    let head: Value = serde_json::from_str(&aws(&[
        "s3api",
        "head-object",
        "--bucket",
        "made",
        "--key",
        "parts/large",
    ]))
    .unwrap();
    assert_eq!(
        (&head["ContentLength"], &head["Metadata"]["own"]),
        (&(50 << 20).into(), &"word".into()),
        "{head}"
    );
    assert!(
        head["ETag"].as_str().unwrap().ends_with("-7\""),
        "in parts: {head}"
    );
    aws(&["s3", "cp", "s3://made/parts/large", "back"]);
    same("back");
    aws(&["s3", "cp", "s3://made/parts/large", "s3://made/copy"]);
    aws(&[
        "s3api",
        "get-object",
        "--bucket",
        "made",
        "--key",
        "copy",
        "--range",
        "bytes=8388600-8388615",
        "piece",
    ]);
    assert_eq!(
        std::fs::read(work.join("piece")).unwrap(),
        large[8_388_600..8_388_616]
    );
    aws(&["s3", "sync", "tree", "s3://made/tree"]);
    let listed = aws(&["s3", "ls", "--recursive", "s3://made/tree/"]);
    assert!(
        listed.contains("tree/sub dir/ü+b.txt") && listed.lines().count() == 2,
        "{listed}"
    );
    assert_eq!(
        aws(&["s3", "sync", "tree", "s3://made/tree"]),
        "",
        "nothing has changed"
    );
    let address = aws(&[
        "s3",
        "presign",
        "s3://made/tree/a.txt",
        "--expires-in",
        "60",
    ]);
    let web = berth_test::Client::new(&endpoint);
    let fetch = async |address: &str| {
        let path = address.trim().strip_prefix(&endpoint).unwrap();
        web.send(web.request(http::Method::GET, path, "")).await
    };
    let answer = fetch(&address).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "a"));
    let forged = address.replace("/a.txt", "/b.txt");
    assert_eq!(fetch(&forged).await.status, 403);
    let created = aws(&[
        "s3api",
        "create-multipart-upload",
        "--bucket",
        "made",
        "--key",
        "open",
    ]);
    let created: Value = serde_json::from_str(&created).unwrap();
    let upload = created["UploadId"].as_str().unwrap();
    let of = ["--bucket", "made", "--key", "open", "--upload-id", upload];
    let copy = [
        "--part-number",
        "1",
        "--copy-source",
        "made/copy",
        "--copy-source-range",
        "bytes=0-9",
    ];
    aws(&[&["s3api", "upload-part-copy"], &of[..], &copy].concat());
    let parts = aws(&[&["s3api", "list-parts"], &of[..]].concat());
    assert!(parts.contains("\"Size\": 10"), "{parts}");
    assert!(aws(&["s3api", "list-multipart-uploads", "--bucket", "made"]).contains(upload));
    aws(&[&["s3api", "abort-multipart-upload"], &of[..]].concat());
    aws(&[
        "s3api",
        "put-object",
        "--bucket",
        "made",
        "--key",
        "summed",
        "--body",
        "tree/a.txt",
        "--checksum-algorithm",
        "SHA256",
    ]);

    // s3cmd.
    let host = endpoint.strip_prefix("http://").unwrap();
    let s3cmd = |arguments: &[&str]| {
        let mut command = program("s3cmd");
        command.args([
            "--access_key",
            &id,
            "--secret_key",
            &secret,
            "--host",
            host,
            "--host-bucket",
            host,
        ]);
        text(
            command
                .args(["--no-ssl", "--region", "auto", "--no-progress"])
                .args(arguments),
        )
    };
    s3cmd(&["put", "large", "s3://made/by-s3cmd"]);
    s3cmd(&["get", "s3://made/by-s3cmd", "by-s3cmd"]);
    same("by-s3cmd");
    s3cmd(&["sync", "tree/", "s3://made/s3cmd/"]);
    assert_eq!(s3cmd(&["ls", "-r", "s3://made/s3cmd/"]).lines().count(), 2);
    assert!(s3cmd(&["info", "s3://made/by-s3cmd"]).contains("File size: 52428800"));
    s3cmd(&["cp", "s3://made/by-s3cmd", "s3://made/s3cmd/copy"]);
    s3cmd(&["del", "-r", "-f", "s3://made/s3cmd/"]);

    // Rules: what these set the API has, as wrangler shows it, and the other way round.
    let cors = r#"{"CORSRules": [{"AllowedOrigins": ["https://a.example"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 5}]}"#;
    let of_made = ["--bucket", "made"];
    let rules = |verb: &str, more: &[&str]| aws(&[&["s3api", verb], &of_made[..], more].concat());
    rules("put-bucket-cors", &["--cors-configuration", cors]);
    let set = of_api(&server, "cors").await;
    let allowed = json!({"origins": ["https://a.example"], "methods": ["GET"]});
    assert_eq!(set, json!([{"allowed": allowed, "maxAgeSeconds": 5}]));
    assert!(rules("get-bucket-cors", &[]).contains("https://a.example"));
    rules("delete-bucket-cors", &[]);
    let lifecycle = r#"{"Rules": [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "none/"},
        "Expiration": {"Days": 30}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]}"#;
    let put = "put-bucket-lifecycle-configuration";
    rules(put, &["--lifecycle-configuration", lifecycle]);
    let set = of_api(&server, "lifecycle").await;
    let age = |days: u64| json!({"condition": {"type": "Age", "maxAge": days * 86400}});
    let rule = json!({
        "id": "old", "enabled": true, "conditions": {"prefix": "none/"},
        "deleteObjectsTransition": age(30), "abortMultipartUploadsTransition": age(7),
    });
    assert_eq!(set, json!([rule]));
    std::fs::write(
        work.join("rules.xml"),
        s3cmd(&["getlifecycle", "s3://made"]),
    )
    .unwrap();
    rules("delete-bucket-lifecycle", &[]);
    s3cmd(&["setlifecycle", "rules.xml", "s3://made"]);
    let again = of_api(&server, "lifecycle").await;
    assert_eq!(again, set);
    rules("delete-bucket-lifecycle", &[]);

    // rclone.
    let rclone = |arguments: &[&str]| {
        let mut command = program("rclone");
        let set = [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ENV_AUTH", "true"),
            ("REGION", "auto"),
            ("ENDPOINT", &endpoint),
        ];
        for (name, value) in set {
            command.env(format!("RCLONE_CONFIG_R2_{name}"), value);
        }
        text(command.args(arguments))
    };
    rclone(&[
        "copyto",
        "large",
        "r2:made/by-rclone",
        "--s3-upload-cutoff",
        "10M",
    ]);
    rclone(&["copyto", "r2:made/by-rclone", "by-rclone"]);
    same("by-rclone");
    rclone(&["sync", "tree", "r2:made/rclone"]);
    rclone(&["check", "tree", "r2:made/rclone"]);
    assert_eq!(
        rclone(&["lsf", "-R", "--files-only", "r2:made/rclone"])
            .lines()
            .count(),
        2
    );
    rclone(&["moveto", "r2:made/rclone/a.txt", "r2:made/rclone/moved.txt"]);
    assert_eq!(rclone(&["cat", "r2:made/rclone/moved.txt"]), "a");
    rclone(&["purge", "r2:made/rclone"]);

    // A key of less: one bucket, reading only; and after it was taken back, nothing.
    let (reader, reader_secret) = key(
        data.path(),
        &["--permission", "object-read", "--bucket", "made"],
    );
    let as_reader = |arguments: &[&str]| {
        let mut command = program("aws");
        command
            .env("AWS_ACCESS_KEY_ID", &reader)
            .env("AWS_SECRET_ACCESS_KEY", &reader_secret);
        command
            .args(["--endpoint-url", &endpoint])
            .args(arguments)
            .output()
            .unwrap()
    };
    assert!(
        as_reader(&["s3", "cp", "s3://made/tree/a.txt", "-"])
            .status
            .success()
    );
    let refused = as_reader(&["s3", "rm", "s3://made/tree/a.txt"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("AccessDenied"),
        "{refused:?}"
    );
    let mut berth = Command::new(env!("CARGO_BIN_EXE_berth"));
    ok(berth
        .env("BERTH_DATA_DIR", data.path())
        .args(["r2", "keys", "delete", &reader]));
    let refused = as_reader(&["s3", "cp", "s3://made/tree/a.txt", "-"]);
    assert!(!refused.status.success());
    let records = std::fs::read(data.path().join("server/records.db")).unwrap();
    let shown = |text: &str| {
        records
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(!shown(&secret), "secrets are sealed");

    aws(&["s3", "rb", "--force", "s3://made"]);
    server.stop().await;
    assert_eq!(blobs(data.path()), 0);
}
