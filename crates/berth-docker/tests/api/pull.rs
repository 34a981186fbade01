//! `POST /images/create` and `POST /auth` against our own registry, which wants a login.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use berth_distribution::{Client, ClientOptions, Credential, Keyring, PushOptions, Registries};
use berth_image::{Image, ImageStore, Reference};
use berth_registry::auth::{Actions, Anonymous, Grant, Identity, Pattern};
use berth_registry::auth::{SignedCredentials, SigningKey};
use berth_registry::server::{Server, ServerOptions};
use berth_registry::storage::Directory;
use berth_registry::{Registry, RegistryOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{Reply, World};

/// A registry on this machine with one image, `team/app:1`.
struct Remote {
    directory: TempDir,
    host: String,
    password: String,
    image: Image,
    _running: DropGuard,
}

impl Remote {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::new(&[7; 32]).unwrap();
        let authority = SignedCredentials::new(key.clone(), Anonymous::Nothing);
        let identity = Identity {
            name: "test".into(),
            grants: vec![Grant {
                repositories: Pattern::all(),
                actions: Actions::ALL,
            }],
        };
        let password = authority.issue(&identity, Some(600));
        let storage = Directory::open(&directory.path().join("registry")).unwrap();
        let options = RegistryOptions::default();
        let registry = Registry::open(Arc::new(storage), Arc::new(authority), key, options)
            .await
            .unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(address, ServerOptions::default())
            .await
            .unwrap();
        let host = server.address().to_string();
        let router = registry.router(server.is_secure());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(router, stop.clone()));

        let store = ImageStore::open(&directory.path().join("store")).unwrap();
        let tar = archive();
        let image = store.import_rootfs(tar.as_slice(), "app").unwrap();
        let credential = Credential::password("v1", &password, "the test");
        let keyring = Keyring::only(&host, credential);
        let client = Client::new(Registries::default(), keyring, ClientOptions::default());
        let name: Reference = format!("{host}/team/app:1").parse().unwrap();
        let options = PushOptions::default();
        client
            .push(&store, &image, &name, &options, &|_| {})
            .await
            .unwrap();
        let image = store.resolve("app").unwrap().unwrap();
        Self {
            directory,
            host,
            password,
            image,
            _running: stop.drop_guard(),
        }
    }

    fn header(&self, password: &str) -> String {
        let entry = json!({"username": "v1", "password": password, "serveraddress": self.host});
        format!(
            "X-Registry-Auth: {}\r\n",
            URL_SAFE.encode(entry.to_string())
        )
    }

    /// The file of the image's layer.
    fn blob(&self) -> PathBuf {
        let digest = &self.image.layers[0].digest;
        let path = format!("registry/blobs/sha256/{}", digest.hex());
        self.directory.path().join(path)
    }
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let content = b"hello".repeat(1000);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let data = content.as_slice();
    builder.append_data(&mut header, "hello", data).unwrap();
    builder.into_inner().unwrap()
}

/// `POST /images/create` with these parameters and headers.
async fn pull(world: &World, query: &str, headers: &str) -> Reply {
    let request = format!(
        "POST /v1.41/images/create?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         {headers}Content-Length: 0\r\n\r\n"
    );
    world.docker.raw(&request).await
}

/// The lines of an answer that began well.
fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply
            .head
            .to_lowercase()
            .contains("content-type: application/json")
    );
    let text = std::str::from_utf8(&reply.body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_as_docker_pulls_it() {
    let (world, remote) = (World::new().await, Remote::start().await);
    let (host, login) = (&remote.host, remote.header(&remote.password));
    let name = format!("{host}/team/app");
    let query = format!("fromImage={name}&tag=1&platform=linux%2Famd64");
    let came = lines(&pull(&world, &query, &login).await);
    assert_eq!(
        came[0],
        json!({"status": "Pulling from team/app", "id": "1"})
    );
    let layer = &remote.image.layers[0];
    let short = &layer.digest.hex()[..12];
    let of_layer: Vec<&Value> = came.iter().filter(|line| line["id"] == short).collect();
    assert_eq!(of_layer.last().unwrap()["status"], "Pull complete");
    let bytes = of_layer
        .iter()
        .find(|line| line["status"] == "Downloading")
        .unwrap();
    assert_eq!(bytes["progressDetail"]["total"], layer.size);
    let [.., digest, status] = came.as_slice() else {
        panic!("{came:?}");
    };
    let manifest = &remote.image.manifest;
    assert_eq!(digest["status"], format!("Digest: {manifest}"));
    let said = format!("Status: Downloaded newer image for {name}:1");
    assert_eq!(status["status"], said);
    let found = world
        .docker
        .get(&format!("/images/{name}:1/json"))
        .await
        .json();
    assert_eq!(found["Id"], remote.image.id.to_string());
    assert_eq!(found["RepoDigests"], json!([format!("{name}@{manifest}")]));

    // Again nothing comes; by its digest it has a name of that kind, too.
    let again = lines(&pull(&world, &query, &login).await);
    let said = format!("Status: Image is up to date for {name}:1");
    assert_eq!(again.last().unwrap()["status"], said);
    assert!(again.iter().any(|line| line["status"] == "Already exists"));
    let by_digest = format!("fromImage={name}&tag={manifest}");
    let came = lines(&pull(&world, &by_digest, &login).await);
    let said = format!("Status: Image is up to date for {name}@{manifest}");
    assert_eq!(came.last().unwrap()["status"], said);
    let listed = world.docker.get("/images/json").await.json();
    let listed = listed.as_array().unwrap().iter();
    let ours = listed
        .clone()
        .find(|image| image["Id"] == remote.image.id.to_string());
    let ours = ours.unwrap();
    assert_eq!(ours["RepoTags"], json!([format!("{name}:1")]));
    assert_eq!(ours["RepoDigests"], json!([format!("{name}@{manifest}")]));
    // Tags of another image.
    assert_eq!(listed.count(), 2);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_pull_is_said_as_docker_says_it() {
    let (world, remote) = (World::new().await, Remote::start().await);
    let (host, login) = (&remote.host, remote.header(&remote.password));
    let name = format!("{host}/team/app");
    let wrong = remote.header("wrong");
    for (query, headers, status, says) in [
        (format!("fromImage={name}&tag=1"), "", 404, "who you are"),
        (
            format!("fromImage={name}&tag=1"),
            &*wrong,
            401,
            "credentials",
        ),
        (format!("fromImage={name}&tag=2"), &*login, 404, "no image"),
        (
            format!("fromImage={name}&tag=1"),
            "X-Registry-Auth: *\r\n",
            400,
            "X-Registry-Auth",
        ),
        (
            format!("fromImage={name}&tag=1&platform=linux%2Farm64"),
            &*login,
            404,
            "not for linux/arm64",
        ),
        (
            format!("fromImage={name}&tag=1&platform=%2F"),
            &*login,
            400,
            "platform",
        ),
        ("fromImage=UPPER".to_owned(), "", 400, "lower-case"),
        ("tag=1".to_owned(), "", 400, "fromImage"),
        (
            "fromSrc=-&repo=x".to_owned(),
            "",
            501,
            "berth images import",
        ),
        (
            "fromImage=127.0.0.1:9%2Fx".to_owned(),
            "",
            500,
            "cannot be reached",
        ),
    ] {
        let reply = pull(&world, &query, headers).await;
        assert_eq!(reply.status, status, "{query}: {reply:?}");
        assert!(reply.message().contains(says), "{query}: {reply:?}");
    }
    // What is here does where nobody can be asked.
    let tag = format!("/images/{}/tag?repo=127.0.0.1:9%2Fx", crate::world::IMAGE);
    assert_eq!(world.docker.post(&tag).await.status, 201);
    let came = lines(&pull(&world, "fromImage=127.0.0.1:9%2Fx", "").await);
    assert!(came[0]["status"].as_str().unwrap().contains("up to date"));

    // Something that breaks after the first line is told in the last one.
    std::fs::remove_file(remote.blob()).unwrap();
    let query = format!("fromImage={name}&tag=1");
    let came = lines(&pull(&world, &query, &login).await);
    let last = came.last().unwrap();
    assert!(last["error"].is_string(), "{came:?}");
    assert_eq!(last["error"], last["errorDetail"]["message"]);
    let here = world.docker.get(&format!("/images/{name}:1/json")).await;
    assert_eq!(here.status, 404);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_tried_at_its_registry() {
    let (world, remote) = (World::new().await, Remote::start().await);
    let login = |password: &str| json!({"username": "v1", "password": password, "serveraddress": remote.host});
    let right = login(&remote.password);
    let reply = world.docker.send("POST", "/auth", &right).await;
    assert_eq!(reply.json()["Status"], "Login Succeeded", "{reply:?}");
    let reply = world.docker.send("POST", "/auth", &login("wrong")).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let nobody = json!({"serveraddress": remote.host});
    let reply = world.docker.send("POST", "/auth", &nobody).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    world.close().await;
}
