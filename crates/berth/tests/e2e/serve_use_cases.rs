//! `berth serve`: what the documentation of Cloudflare's Containers and its use cases show besides
//! `serve_seeds.rs`, deployed by an unmodified wrangler and driven.
//!
//! What is other than there, and why:
//! - **inference**: the model is Magika's (a neural network on ONNX Runtime, in its package) in place of a
//!   download from a hub with torch and transformers.
//! - **images**: Debian's Node image in place of Alpine, so `apt-get` in place of `apk`.
//! - **documents**: there is a Worker of the use case only; the parser is ours, with the libraries and the
//!   Dockerfile that it names.
//! - **environment and secrets**: a value of a Secrets Store is `await binding.get()`, and a binding is one
//!   secret; the two instances have two names; the container says what it was given.

use berth_test::{Client, Project, ServerSession, World};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{env_vars, world};

const PICTURE: &[u8] = include_bytes!("../fixtures/picture.jpg");

async fn deploy(world: &World, server: &ServerSession, project: &Project, name: &str) -> Client {
    project.install(world, "@cloudflare/containers", "0.3.7");
    server.wrangler_ok(project, ["deploy"], "").await;
    server.client(name)
}

async fn post_json(client: &Client, path: &str, body: Value) -> berth_test::Reply {
    let mut request = client.request(Method::POST, path, body.to_string());
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("Content-Type", json);
    client.send(request).await
}

/// The network tells languages apart, one text at a time and many at once.
async fn drive_inference(client: &Client) {
    let health = client.get("/health").await.ok().json();
    assert_eq!(health["status"], "ready", "{health}");
    let texts = json!([
        "import os\n\ndef main():\n    print(os.getcwd())\n\nmain()\n",
        "SELECT id, name FROM users WHERE age > 30 ORDER BY name;\nINSERT INTO users (id) VALUES (3);\n",
        "#include <stdio.h>\nint main(void) {\n  printf(\"hi\");\n  return 0;\n}\n",
    ]);
    let one = post_json(client, "/predict", json!({ "text": texts[0] })).await;
    let one = one.ok().json();
    assert_eq!(one["label"], "python", "{one}");
    let score = one["score"].as_f64().unwrap();
    assert!(score > 0.8 && score <= 1.0, "{one}");
    let many = post_json(client, "/batch", json!({ "texts": texts })).await;
    let many = many.ok().json();
    let labels = many["results"].as_array().unwrap().iter();
    let labels: Vec<_> = labels.map(|result| &result["label"]).collect();
    assert_eq!(labels, ["python", "sql", "c"], "{many}");
    let wrong = post_json(client, "/predict", json!({ "words": 1 })).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// Width and height of a JPEG, from its frame header.
fn size(jpeg: &[u8]) -> (u16, u16) {
    assert_eq!(jpeg.get(..2), Some(&[0xff, 0xd8][..]), "it is a JPEG");
    let number = |at: usize| u16::from_be_bytes([jpeg[at], jpeg[at + 1]]);
    let mut at = 2;
    loop {
        assert_eq!(jpeg[at], 0xff, "a segment begins at {at}");
        // Baseline or progressive.
        if matches!(jpeg[at + 1], 0xc0 | 0xc2) {
            return (number(at + 7), number(at + 5));
        }
        at += 2 + usize::from(number(at + 2));
    }
}

async fn resize(client: &Client, picture: &[u8], width: &str, height: &str) -> berth_test::Reply {
    let mut request = client.request(Method::POST, "/resize", picture.to_vec());
    let headers = request.headers_mut();
    headers.insert("X-Width", width.parse().unwrap());
    headers.insert("X-Height", height.parse().unwrap());
    client.send(request).await
}

/// Pictures become smaller and larger and keep their proportions; what is none is refused.
async fn drive_images(client: &Client) {
    assert_eq!(size(PICTURE), (64, 48));
    let small = resize(client, PICTURE, "32", "32").await.ok();
    assert_eq!(small.headers["content-type"], "image/jpeg");
    assert_eq!(size(&small.body), (32, 24));
    let large = resize(client, &small.body, "800", "600").await.ok();
    assert_eq!(size(&large.body), (800, 600));
    let wrong = resize(client, PICTURE, "0", "32").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let none = resize(client, b"no picture", "32", "32").await;
    assert_eq!(none.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(client.get("/").await.status, StatusCode::NOT_FOUND);
}

/// Documents go from the Worker to R2, from there to the container, and back the same way.
async fn drive_documents(client: &Client, project: &Project) {
    for name in ["invoice.pdf", "orders.xlsx"] {
        let document = std::fs::read(project.path().join("documents").join(name)).unwrap();
        client
            .put(&format!("/documents/{name}"), document)
            .await
            .ok();
    }
    let parse = async |key: &str| client.post("/", json!({ "r2Key": key }).to_string()).await;
    let invoice = parse("invoice.pdf").await.ok().json();
    assert_eq!(invoice["pages"], 2, "{invoice}");
    assert_eq!(
        invoice["tables"],
        json!([[
            ["Item", "Pieces", "Price"],
            ["Bollard", "2", "120.00"],
            ["Rope", "5", "17.50"]
        ]])
    );
    let text = invoice["text"].as_str().unwrap();
    assert!(
        text.starts_with("Invoice 4711\n") && text.ends_with("Total: 327.50"),
        "{invoice}"
    );
    let orders = parse("orders.xlsx").await.ok().json();
    let rows = json!({
        "Orders": [["Item", "Pieces", "Price"], ["Bollard", 2, 120], ["Rope", 5, 17.5]],
        "Notes": [["Ship on Monday"]],
    });
    assert_eq!(orders["sheets"], rows, "{orders}");
    let missing = parse("nothing.pdf").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.text());
    let other = parse("letter.doc").await;
    assert_eq!(other.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    client.put("/documents/broken.pdf", "no PDF").await.ok();
    let broken = parse("broken.pdf").await;
    assert_eq!(broken.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// A store with the secrets that the page has, made as the page makes them; its id.
async fn secrets_store(server: &ServerSession, project: &Project) -> String {
    let create = ["secrets-store", "store", "create", "demo", "--remote"];
    let created = server.wrangler_ok(project, create, "").await;
    let (_, id) = created.split_once("ID: ").expect("it says the id");
    let end = id.find(|char: char| !char.is_ascii_alphanumeric());
    let id = id[..end.unwrap_or(id.len())].to_owned();
    for (name, value) in [
        ("ACCOUNT_API_KEY", "key of all"),
        ("ACCOUNT_API_KEY_ONE", "first key"),
        ("ACCOUNT_API_KEY_TWO", "second key"),
    ] {
        let create = ["secrets-store", "secret", "create", &id, "--name", name];
        let [a, b, c, d, e, f] = create;
        let create = [
            a, b, c, d, e, f, "--scopes", "workers", "--value", value, "--remote",
        ];
        server.wrangler_ok(project, create, "").await;
    }
    id
}

/// The page on environment variables and secrets: of the class, and of each instance.
async fn drive_environment(world: &World, server: &ServerSession) {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/env-and-secrets"
    );
    let project = Project::copy_of(fixture.as_ref());
    let store = secrets_store(server, &project).await;
    for _ in 0..3 {
        project.replace("wrangler.jsonc", "\"demo\"", &format!("\"{store}\""));
    }
    let client = deploy(world, server, &project, "my-container-worker").await;
    for (name, value) in [
        ("CONTAINER_SECRET_KEY", "worker secret"),
        ("CONTAINER_SECRET_KEY_TWO", "another secret"),
    ] {
        let put = ["secret", "put", name];
        server.wrangler_ok(&project, put, value).await;
    }
    let seen = async |path: &str| client.get(path).await.ok().json();
    let given = |account: &str, key: &str, secret: &str| {
        json!({
            "ACCOUNT_NAME": account,
            "ACCOUNT_API_KEY": key,
            "CONTAINER_SECRET_KEY": secret,
        })
    };
    let launched = client.text("/launch-instances").await;
    assert_eq!(launched, "Container instances launched");
    assert_eq!(
        seen("/foo").await,
        given("my-account-1", "first key", "another secret")
    );
    assert_eq!(
        seen("/bar").await,
        given("my-account-2", "second key", "another secret")
    );
    for name in ["/any", "/other"] {
        let of_class = given("my-account", "key of all", "worker secret");
        assert_eq!(seen(name).await, of_class, "{name}");
    }
}

/// Every other way a value reaches a container: KV, the image, build arguments.
async fn drive_variables(world: &World, server: &ServerSession) {
    let project = Project::example("env-vars");
    // wrangler makes a namespace that has no id.
    project.replace(
        "wrangler.toml",
        "id = \"0123456789abcdef0123456789abcdef\"\n",
        "",
    );
    let client = deploy(world, server, &project, "env-vars").await;
    let put = ["secret", "put", "API_KEY"];
    server.wrangler_ok(&project, put, "change-me").await;
    env_vars::drive(&client).await;
}

#[tokio::test]
async fn use_cases_and_pages_are_deployed_and_driven() {
    let world = world();
    let data = world.data_with_images("use-cases");
    let server = world.server_with(&data, &["--s3", "127.0.0.1:0"]).await;

    drive_environment(&world, &server).await;
    drive_variables(&world, &server).await;

    let project = Project::example("image-processing");
    let client = deploy(&world, &server, &project, "image-processing").await;
    drive_images(&client).await;

    let project = Project::example("ml-inference");
    let client = deploy(&world, &server, &project, "ml-inference").await;
    drive_inference(&client).await;

    let project = Project::example("document-parser");
    let create = ["r2", "bucket", "create", "documents"];
    server.wrangler_ok(&project, create, "").await;
    let client = deploy(&world, &server, &project, "document-parser").await;
    let keys = [
        "r2",
        "keys",
        "create",
        "parser",
        "--permission",
        "object-read-write",
        "--bucket",
        "documents",
        "--json",
    ];
    let key: Value = serde_json::from_str(&server.berth_ok(&project, keys, "").await).unwrap();
    let secrets = json!({
        "R2_ACCESS_KEY": key["accessKeyId"],
        "R2_SECRET_KEY": key["secretAccessKey"],
    });
    let bulk = ["secret", "bulk"];
    server
        .wrangler_ok(&project, bulk, &secrets.to_string())
        .await;
    drive_documents(&client, &project).await;
    server.stop().await;
}
