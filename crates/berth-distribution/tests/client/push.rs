//! Pushing: what is sent, what is not, and what happens when it breaks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use berth_distribution::{
    Client, DistributionError, HostConfig, Keyring, LayerState, Progress, PullOptions, PushOptions,
    Pushed, Registries,
};
use berth_image::{Digest, Image};

use crate::fake::Fake;
use crate::image::{Pack, TestImage};
use crate::server::{End, Reply, Server};
use crate::{Store, client, options, reference};

/// A store with an image in it, pulled from `team/app` of a registry that is gone.
async fn store_with(image: &TestImage) -> (Store, Image) {
    let fake = Fake::with(image, "latest");
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/team/app", server.host()));
    let pulled = client()
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    (store, pulled.image)
}

async fn push(
    client: &Client,
    store: &Store,
    image: &Image,
    name: &str,
) -> Result<Pushed, DistributionError> {
    crate::push(client, store, image, &reference(name)).await
}

#[tokio::test]
async fn an_image_is_pushed_as_it_is_and_only_what_is_missing() {
    let image = TestImage::new(1, &[Pack::Gzip, Pack::Zstd, Pack::Gzip], 100_000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let registry = fake.clone();
    let server = Server::start(move |request| registry.reply(request)).await;
    let name = format!("{}/other:1.0", server.host());
    let events = Mutex::new(Vec::new());
    let sink = |event| events.lock().unwrap().push(event);
    let pushed = client()
        .push(
            &store.store,
            &stored,
            &reference(&name),
            &PushOptions::default(),
            &sink,
        )
        .await
        .unwrap();
    assert_eq!((pushed.digest.clone(), pushed.sent), (image.digest(), 4));
    assert_eq!(fake.manifest("1.0").unwrap(), image.manifest);
    assert_eq!(fake.blob_count(), 4);
    for index in 0..3 {
        assert_eq!(
            fake.blob(&image.layer_digest(index)).unwrap(),
            image.layers[index]
        );
    }
    // The manifest came after the last blob.
    let requests = server.requests();
    let put = requests
        .iter()
        .position(|r| r.path().contains("/manifests/"));
    assert_eq!(put, Some(requests.len() - 1));
    // wrangler reads this.
    let digests = store.store.repo_digests(&stored).unwrap();
    assert!(digests.contains(&format!("{}/other@{}", server.host(), image.digest())));
    let done = |event: &&Progress| {
        matches!(
            event,
            Progress::Layer {
                state: LayerState::Done,
                ..
            }
        )
    };
    assert_eq!(events.lock().unwrap().iter().filter(done).count(), 4);

    let again = push(&client(), &store, &stored, &name).await.unwrap();
    assert_eq!(again.sent, 0);
    assert_eq!(server.count("POST", "/blobs/uploads/"), 4);
}

/// What was made here is gzip, which every client reads, unless the caller or the configuration says
/// zstd. Each blob is made once, and what the registry has is not sent again.
#[tokio::test]
async fn layers_that_were_made_here_are_compressed_as_asked() {
    let store = Store::new();
    let tree = tempfile::tempdir_in(store.store.scratch_dir()).unwrap();
    std::fs::write(tree.path().join("built"), "x".repeat(10_000)).unwrap();
    let built = store.store.add_layer(tree.path()).unwrap().unwrap();
    let tar = crate::image::tar("imported", b"y");
    let base = store.store.import_rootfs(tar.as_slice(), "base").unwrap();
    let foreign = TestImage::new(9, &[Pack::Zstd], 1000);
    let fake = Fake::with(&foreign, "latest");
    let registry = fake.clone();
    let server = Server::start(move |request| registry.reply(request)).await;
    let name = reference(&format!("{}/foreign", server.host()));
    let pulled = client()
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    let layers = [&base.layers[0], &built, &pulled.image.layers[0]];
    let layers = layers.into_iter().cloned().collect();
    let image = store
        .store
        .put_image_json(serde_json::json!({}), layers)
        .unwrap();
    store.store.tag(&image, "made").unwrap();

    let kinds = |tag: &str| -> Vec<String> {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fake.manifest(tag).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| {
                let digest = layer["digest"].as_str().unwrap().parse().unwrap();
                let kind = match fake.blob(&digest).unwrap()[..4] {
                    [0x1f, 0x8b, ..] => "gzip",
                    [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
                    _ => "other",
                };
                assert!(
                    layer["mediaType"]
                        .as_str()
                        .unwrap()
                        .ends_with(&format!("tar+{kind}"))
                );
                kind.to_owned()
            })
            .collect()
    };
    let to = |tag: &str| format!("{}/made:{tag}", server.host());
    let first = push(&client(), &store, &image, &to("gzip")).await.unwrap();
    // The foreign layer is there, the configuration is not.
    assert_eq!(first.sent, 3);
    assert_eq!(kinds("gzip"), ["gzip", "gzip", "zstd"]);
    let found = store.store.resolve("made").unwrap().unwrap();
    assert_eq!(found.manifest, first.digest);
    let again = push(&client(), &store, &found, &to("gzip")).await.unwrap();
    assert_eq!((again.sent, &again.digest), (0, &first.digest));

    let zstd = PushOptions {
        compression: Some("zstd".parse().unwrap()),
    };
    let second = client()
        .push(
            &store.store,
            &found,
            &reference(&to("zstd")),
            &zstd,
            &|_| {},
        )
        .await
        .unwrap();
    assert_eq!(second.sent, 2);
    assert_eq!(kinds("zstd"), ["zstd", "zstd", "zstd"]);
    // Back again, and by configuration: everything is there.
    let again = push(&client(), &store, &found, &to("gzip")).await.unwrap();
    assert_eq!((again.sent, &again.digest), (0, &first.digest));
    let host = HostConfig {
        compression: Some("zstd".parse().unwrap()),
        ..HostConfig::default()
    };
    let registries = Registries::default().with_host(&server.host(), host);
    let configured = Client::new(registries, Keyring::default(), options());
    let again = push(&configured, &store, &found, &to("zstd"))
        .await
        .unwrap();
    assert_eq!((again.sent, &again.digest), (0, &second.digest));
    // Every digest that it ever had leads to it.
    for digest in [&first.digest, &second.digest, &image.manifest] {
        let name = format!("{}@{digest}", server.host().to_owned() + "/made");
        assert_eq!(store.store.resolve(&name).unwrap().unwrap().id, image.id);
    }
}

#[tokio::test]
async fn blobs_of_another_repository_are_mounted() {
    let image = TestImage::new(1, &[Pack::Gzip, Pack::Gzip], 1000);
    let fake = Fake::with(&image, "latest");
    let mounted = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&mounted);
    let refuse = Arc::new(AtomicUsize::new(0));
    let refusing = Arc::clone(&refuse);
    let server = Server::start(move |request| {
        // The other repository has nothing yet.
        if request.method == "HEAD" && request.path().contains("/new/") {
            return Reply::new(404);
        }
        if let Some(from) = request.query("from").first() {
            seen.lock().unwrap().push(from.clone());
            if refusing.load(Ordering::Relaxed) == 1 {
                let mut plain = request.clone();
                plain.target = plain.path().to_owned();
                return fake.reply(&plain);
            }
            if refusing.load(Ordering::Relaxed) == 2 {
                return Reply::new(403);
            }
        }
        fake.reply(request)
    })
    .await;
    let store = Store::new();
    let old = reference(&format!("{}/team/old", server.host()));
    let pulled = client()
        .pull(&store.store, &old, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    let new = format!("{}/team/new", server.host());
    let pushed = push(&client(), &store, &pulled.image, &new).await.unwrap();
    // The configuration is no layer, and so small that it is just sent.
    assert_eq!(pushed.sent, 1);
    assert_eq!(*mounted.lock().unwrap(), ["team/old", "team/old"]);
    // Registries that do not mount get everything, without a fuss.
    for how in [1, 2] {
        refuse.store(how, Ordering::Relaxed);
        let pushed = push(&client(), &store, &pulled.image, &new).await.unwrap();
        assert_eq!(pushed.sent, 3, "{how}");
    }
}

/// A registry whose connections break after so many bytes of each upload's body.
async fn breaking(fake: &Fake, after: usize, times: usize) -> Server {
    let registry = fake.clone();
    let broken = AtomicUsize::new(0);
    let breaker = move |request: &crate::server::Request| {
        let large = request
            .header("content-length")
            .is_some_and(|length| length.parse::<usize>().unwrap() > 10_000);
        (large && broken.fetch_add(1, Ordering::Relaxed) < times).then_some(after)
    };
    Server::start_with(None, Arc::new(breaker), move |request| {
        registry.reply(request)
    })
    .await
}

#[tokio::test]
async fn an_upload_is_gone_on_from_where_it_broke() {
    let image = TestImage::new(1, &[Pack::Gzip], 3_000_000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    // More often than attempts are allowed without progress.
    let server = breaking(&fake, 300_000, 7).await;
    let name = format!("{}/app", server.host());
    push(&client(), &store, &stored, &name).await.unwrap();
    assert_eq!(fake.blob(&image.layer_digest(0)).unwrap(), image.layers[0]);
    let sent: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.body.len() > 10_000)
        .collect();
    assert_eq!(sent.len(), 8);
    let total: usize = sent.iter().map(|request| request.body.len()).sum();
    assert_eq!(total, image.layers[0].len(), "no byte is sent twice");
    assert!(
        sent[1]
            .header("content-range")
            .unwrap()
            .starts_with("300000-")
    );
    assert_eq!(
        server.count("POST", "/blobs/uploads/"),
        2,
        "one for each blob"
    );
}

#[tokio::test]
async fn an_upload_that_never_moves_is_given_up() {
    let image = TestImage::new(1, &[Pack::Gzip], 300_000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let server = breaking(&fake, 0, usize::MAX).await;
    let name = format!("{}/app", server.host());
    let error = push(&client(), &store, &stored, &name).await.unwrap_err();
    assert!(
        matches!(error, DistributionError::Interrupted { .. }),
        "{error}"
    );
    assert_eq!(fake.manifest("latest"), None);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for() {
    let image = TestImage::new(1, &[Pack::Gzip], 1000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let registry = fake.clone();
    let server = Server::start(move |request| {
        let reply = registry.reply(request);
        if request.method == "PUT" && request.path().contains("/uploads/") {
            // It has the blob, but nobody hears of it.
            return reply.end(End::Silent);
        }
        reply
    })
    .await;
    let name = format!("{}/app", server.host());
    push(&client(), &store, &stored, &name).await.unwrap();
    assert_eq!(fake.blob_count(), 2);
    let puts = server.requests();
    let puts = puts
        .iter()
        .filter(|r| r.method == "PUT" && r.path().contains("/uploads/"));
    assert_eq!(puts.count(), 2);
}

#[tokio::test]
async fn large_blobs_are_sent_in_parts_where_that_is_configured() {
    let image = TestImage::new(1, &[Pack::Plain], 2_500_000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let registry = fake.clone();
    let server = Server::start(move |request| {
        if request.body.len() > 1_000_000 {
            return Reply::new(413);
        }
        registry.reply(request)
    })
    .await;
    let name = format!("{}/app", server.host());
    let error = push(&client(), &store, &stored, &name).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("upload_chunk_mb"), "{report}");
    let config = HostConfig {
        upload_chunk: Some(1_000_000),
        ..HostConfig::default()
    };
    let registries = Registries::default().with_host(&server.host(), config);
    let client = Client::new(registries, Keyring::default(), options());
    push(&client, &store, &stored, &name).await.unwrap();
    assert_eq!(fake.blob(&image.layer_digest(0)).unwrap(), image.layers[0]);
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|request| request.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[..2], ["0-999999", "1000000-1999999"]);
}

#[tokio::test]
async fn a_place_to_upload_to_on_another_host_gets_no_credentials() {
    let image = TestImage::new(1, &[Pack::Gzip], 1000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let storage = {
        let fake = fake.clone();
        Server::start(move |request| fake.reply(request)).await
    };
    let (registry, away) = (fake.clone(), storage.host());
    let server = Server::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let mut reply = registry.reply(request);
        for (name, value) in &mut reply.headers {
            if name == "Location" {
                *value = format!("http://{away}{value}");
            }
        }
        reply
    })
    .await;
    let credential = berth_distribution::Credential::password("me", "secret", "the test");
    let keyring = Keyring::only(&server.host(), credential);
    let client = Client::new(Registries::default(), keyring, options());
    let name = format!("{}/app", server.host());
    push(&client, &store, &stored, &name).await.unwrap();
    assert_eq!(
        storage.count("PUT", "upload-1") + storage.count("PUT", "upload-2"),
        2
    );
    for request in storage.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_found_out() {
    let image = TestImage::new(1, &[Pack::Gzip], 1000);
    let (store, stored) = store_with(&image).await;
    let fake = Fake::default();
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.method == "PUT" && request.path().contains("/manifests/") {
            return Reply::new(201)
                .header("Docker-Content-Digest", Digest::of(b"else").to_string());
        }
        reply
    })
    .await;
    let name = format!("{}/app", server.host());
    let error = push(&client(), &store, &stored, &name).await.unwrap_err();
    assert!(error.to_string().contains("for another one"), "{error}");
    let name = format!("{}/app@{}", server.host(), Digest::of(b"else"));
    let error = push(&client(), &store, &stored, &name).await.unwrap_err();
    assert!(error.to_string().contains("cannot be pushed as"), "{error}");
}
