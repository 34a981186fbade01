//! Pulling what is as it should be, over connections that are not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_distribution::{
    Client, ClientOptions, Keyring, LayerState, Platform, Progress, PullOptions, Registries,
};
use berth_image::Digest;

use crate::fake::Fake;
use crate::image::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Pack, TestImage, index};
use crate::server::{End, Reply, Server};
use crate::{Store, client, reference};

fn silent(_: Progress) {}

#[tokio::test]
async fn an_image_is_pulled_with_layers_of_every_compression() {
    let image = TestImage::new(1, &[Pack::Gzip, Pack::Zstd, Pack::Plain], 300_000);
    let fake = Fake::with(&image, "1.0");
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/team/app:1.0", server.host()));
    let events = Mutex::new(Vec::new());
    let sink = |event| events.lock().unwrap().push(event);
    let pulled = client()
        .pull(&store.store, &name, &PullOptions::default(), &sink)
        .await
        .unwrap();
    assert_eq!(pulled.fetched, 3);
    assert_eq!(pulled.digest, image.digest());
    assert_eq!(pulled.image.id, Digest::of(&image.config));
    for (index, layer) in pulled.image.layers.iter().enumerate() {
        let file = store.store.layer_path(layer).join(format!("file{index}"));
        assert_eq!(std::fs::metadata(file).unwrap().len(), 300_000);
    }
    let found = store.store.resolve(&name.canonical()).unwrap().unwrap();
    assert_eq!(found.id, pulled.image.id);
    // What a registry has is pushed on as it is.
    assert_eq!(store.store.manifest(&found).unwrap().1, image.manifest);
    let digests = store.store.repo_digests(&found).unwrap();
    assert_eq!(
        digests,
        [format!("{}/team/app@{}", server.host(), image.digest())]
    );

    let events = events.into_inner().unwrap();
    assert!(matches!(&events[0], Progress::Resolved { layers: 3, bytes, .. } if *bytes > 800_000));
    for index in 0..3 {
        let digest = image.layer_digest(index);
        let states: Vec<&LayerState> = events
            .iter()
            .filter_map(|event| match event {
                Progress::Layer {
                    digest: of, state, ..
                } if *of == digest => Some(state),
                _ => None,
            })
            .collect();
        assert!(
            matches!(states.first(), Some(LayerState::Downloading { .. })),
            "{states:?}"
        );
        assert_eq!(states.last(), Some(&&LayerState::Done));
    }

    // With its last name goes what the repository calls it.
    let alias = reference(&format!("{}/team/app:alias", server.host()));
    store.store.tag(&found, &alias.canonical()).unwrap();
    store.store.remove(&name.canonical()).unwrap();
    assert_eq!(store.store.repo_digests(&found).unwrap().len(), 1);
    store.store.remove(&alias.canonical()).unwrap();
    assert!(store.store.repo_digests(&found).unwrap().is_empty());

    // The second time nothing but the documents is fetched.
    let again = client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    assert_eq!(again.fetched, 0);
    assert_eq!(server.count("GET", image.layer_digest(0).as_str()), 1);
}

#[tokio::test]
async fn the_platform_is_chosen_through_indexes_inside_indexes() {
    let amd64 = TestImage::new(1, &[Pack::Gzip], 10);
    let arm64 = TestImage::for_platform(2, &[Pack::Gzip], 10, "arm64");
    let attestation = TestImage::for_platform(3, &[Pack::Gzip], 10, "unknown");
    let inner = index(&[
        (OCI_MANIFEST, &attestation.manifest, Some("unknown/unknown")),
        (DOCKER_MANIFEST, &arm64.manifest, Some("linux/arm64/v8")),
        (OCI_MANIFEST, &amd64.manifest, Some("linux/amd64")),
    ]);
    let outer = index(&[(OCI_INDEX, &inner, None)]);
    let fake = Fake::default();
    for image in [&amd64, &arm64] {
        fake.add_blobs(image);
        fake.add_manifest("x", OCI_MANIFEST, &image.manifest);
    }
    // Its own document says it is an OCI manifest; the index says Docker. That is a contradiction.
    fake.add_manifest("inner", OCI_INDEX, &inner);
    fake.add_manifest("latest", OCI_INDEX, &outer);
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let pull = |platform: &str| {
        let options = PullOptions {
            platform: platform.parse().unwrap(),
        };
        let (client, store, name) = (client(), store.store.clone(), name.clone());
        async move { client.pull(&store, &name, &options, &silent).await }
    };
    let pulled = pull("linux/amd64").await.unwrap();
    assert_eq!(pulled.image.id, Digest::of(&amd64.config));
    assert_eq!(pulled.digest, Digest::of(&outer));
    // It is found by the digest of each index that led to it.
    for digest in [Digest::of(&outer), Digest::of(&inner), amd64.digest()] {
        let name = format!("{}@{digest}", name.canonical());
        assert!(store.store.resolve(&name).unwrap().is_some(), "{name}");
    }
    let error = pull("linux/arm64").await.unwrap_err().to_string();
    assert!(error.contains("the registry says"), "{error}");
    let error = pull("linux/s390x").await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("`{name}` is not for linux/s390x, but for linux/arm64/v8, linux/amd64")
    );
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_by_name_unless_asked_for() {
    let other = if Platform::host().architecture == "arm64" {
        "amd64"
    } else {
        "arm64"
    };
    let image = TestImage::for_platform(1, &[Pack::Gzip], 10, other);
    let fake = Fake::with(&image, "latest");
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let error = client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap_err();
    let expected = format!(
        "`{name}` is not for {}, but for linux/{other}",
        Platform::host()
    );
    assert_eq!(error.to_string(), expected);
    store.assert_empty();
    let options = PullOptions {
        platform: format!("linux/{other}").parse().unwrap(),
    };
    client()
        .pull(&store.store, &name, &options, &silent)
        .await
        .unwrap();
}

#[tokio::test]
async fn several_pulls_at_once_fetch_each_layer_once() {
    let image = TestImage::new(1, &[Pack::Gzip, Pack::Zstd], 200_000);
    // Another image that shares the first layer.
    let other = TestImage::new(1, &[Pack::Gzip], 200_000);
    let fake = Fake::with(&image, "one");
    fake.add_blobs(&other);
    fake.add_manifest("two", OCI_MANIFEST, &other.manifest);
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let shared = client();
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..8 {
        let tag = ["one", "two"][number % 2];
        let name = reference(&format!("{}/app:{tag}", server.host()));
        // Half of them as if from another process.
        let client = if number < 4 { shared.clone() } else { client() };
        let store = store.store.clone();
        pulls.spawn(async move {
            client
                .pull(&store, &name, &PullOptions::default(), &silent)
                .await
                .unwrap()
                .fetched
        });
    }
    let fetched: usize = pulls.join_all().await.into_iter().sum();
    assert_eq!(fetched, 2);
    for layer in 0..2 {
        assert_eq!(server.count("GET", image.layer_digest(layer).as_str()), 1);
    }
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_from_where_it_broke() {
    let image = TestImage::new(1, &[Pack::Gzip], 2_000_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        // More often than attempts are allowed without progress.
        if request.path().ends_with(&layer) && broken.fetch_add(1, Ordering::Relaxed) < 9 {
            return reply.end(End::Cut(150_000));
        }
        reply
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let pulled = client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    let file = store
        .store
        .layer_path(&pulled.image.layers[0])
        .join("file0");
    assert_eq!(
        std::fs::read(file).unwrap(),
        crate::image::noise(100, 2_000_000)
    );
    let ranges: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.path().ends_with(image.layer_digest(0).as_str()))
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 10);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=150000-"));
    assert_eq!(ranges[9].as_deref(), Some("bytes=1350000-"));
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_again_from_the_start() {
    let image = TestImage::new(1, &[Pack::Zstd], 500_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let reply = fake.reply(&plain);
        if request.path().ends_with(&layer) && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return reply.end(End::Cut(200_000));
        }
        reply
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    assert_eq!(server.count("GET", image.layer_digest(0).as_str()), 2);
}

#[tokio::test]
async fn a_connection_that_hangs_is_left_for_another() {
    let image = TestImage::new(1, &[Pack::Gzip], 500_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return reply.end(End::Hang(200_000));
        }
        reply
    })
    .await;
    let options = ClientOptions {
        idle_timeout: Duration::from_millis(500),
        ..crate::options()
    };
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let client = Client::new(Registries::default(), Keyring::default(), options);
    client
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    let requests = server.requests();
    let range = requests.iter().find_map(|request| request.header("range"));
    assert_eq!(range, Some("bytes=200000-"));
}

#[tokio::test]
async fn a_connection_that_brings_nothing_is_given_up() {
    let image = TestImage::new(1, &[Pack::Gzip], 500_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            return reply.end(End::Cut(0));
        }
        reply
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let error = client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("broke 4 times in a row"), "{text}");
    assert_eq!(server.count("GET", image.layer_digest(0).as_str()), 4);
    store.assert_empty();
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_it() {
    let image = TestImage::new(1, &[Pack::Gzip], 10);
    let fake = Fake::with(&image, "latest");
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(503),
        1 => Reply::new(429).header("Retry-After", "1"),
        2 => fake.reply(request).end(End::Silent),
        _ => fake.reply(request),
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let begin = Instant::now();
    client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));

    // Not for ever.
    let server = Server::start(|_| {
        Reply::new(429)
            .header("Retry-After", "86400")
            .body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#)
    })
    .await;
    let name = reference(&format!("{}/app", server.host()));
    let error = client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("429: pull rate limit (TOOMANYREQUESTS)"),
        "{text}"
    );
    assert_eq!(server.count("GET", "/manifests/latest"), 1);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_asked_once() {
    // A port that nobody listens on.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = Store::new();
    for host in [address.to_string(), "registry.invalid".to_owned()] {
        let error = client()
            .pull(
                &store.store,
                &reference(&format!("{host}/app")),
                &PullOptions::default(),
                &silent,
            )
            .await
            .unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        assert_eq!(
            error.to_string(),
            format!("the registry `{host}` cannot be reached")
        );
    }
}

#[tokio::test]
async fn a_pull_goes_on_where_an_earlier_one_ended() {
    let image = TestImage::new(1, &[Pack::Gzip], 2_000_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_healthy = Arc::clone(&healthy);
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) && !is_healthy.load(Ordering::Relaxed) {
            return match request.header("range") {
                None => reply.end(End::Cut(800_000)),
                Some(_) => reply.end(End::Cut(0)),
            };
        }
        reply
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let pull = async || {
        client()
            .pull(&store.store, &name, &PullOptions::default(), &silent)
            .await
    };
    pull().await.unwrap_err();
    store.assert_empty();
    healthy.store(true, Ordering::Relaxed);
    let before = server.requests().len();
    let pulled = pull().await.unwrap();
    let file = store
        .store
        .layer_path(&pulled.image.layers[0])
        .join("file0");
    assert_eq!(
        std::fs::read(file).unwrap(),
        crate::image::noise(100, 2_000_000)
    );
    let asked = server.requests().split_off(before);
    let range = asked.iter().find_map(|request| request.header("range"));
    assert_eq!(range, Some("bytes=800000-"));
}

#[tokio::test]
async fn a_beginning_that_is_damaged_is_fetched_anew() {
    let image = TestImage::new(1, &[Pack::Zstd], 500_000);
    let fake = Fake::with(&image, "latest");
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let partial = store.directory.path().join("partial");
    let layer = image.layer_digest(0);
    std::fs::write(partial.join(layer.hex()), vec![7; 100_000]).unwrap();
    let name = reference(&format!("{}/app", server.host()));
    client()
        .pull(&store.store, &name, &PullOptions::default(), &silent)
        .await
        .unwrap();
    let asked = server.requests();
    let ranges: Vec<_> = asked
        .iter()
        .filter(|request| request.path().ends_with(layer.as_str()))
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, [Some("bytes=100000-"), None]);
}

#[tokio::test]
async fn a_pull_that_is_dropped_half_way_leaves_nothing() {
    let image = TestImage::new(1, &[Pack::Gzip], 3_000_000);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let reached = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&reached);
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            tell.notify_one();
            // The rest never comes.
            let length = reply.body.len().to_string();
            let mut reply = reply.header("Content-Length", length).end(End::Endless);
            reply.body.truncate(1_000_000);
            reply.body.resize(1_000_000, 0);
            return reply;
        }
        reply
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let (client, inner) = (client(), store.store.clone());
    let pull = tokio::spawn(async move {
        client
            .pull(&inner, &name, &PullOptions::default(), &silent)
            .await
            .map(drop)
    });
    reached.notified().await;
    pull.abort();
    let _ = pull.await;
    // The thread that unpacks ends when nothing more can come; the lock says when it has.
    let locks = store.directory.path().join("locks");
    for lock in std::fs::read_dir(locks).unwrap().flatten() {
        let file = std::fs::File::open(lock.path()).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    }
    assert!(store.store.list().unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(store.directory.path().join("layers"))
            .unwrap()
            .count(),
        0
    );
}
