//! Registries that are broken or mean harm. After each of them the store is as it was.

use berth_distribution::{DistributionError, Keyring, PullOptions, Registries};
use berth_image::Digest;
use serde_json::json;

use crate::fake::Fake;
use crate::image::{OCI_INDEX, OCI_MANIFEST, Pack, TestImage, descriptor, index};
use crate::server::{End, Reply, Request, Server};
use crate::{Store, client, options, reference};

/// Pulls from a registry that answers like this; the error, with the store proven unchanged.
async fn refused(
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (DistributionError, Server) {
    let server = Server::start(handler).await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let error = client()
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap_err();
    store.assert_empty();
    (error, server)
}

fn image() -> TestImage {
    TestImage::new(7, &[Pack::Gzip, Pack::Zstd], 100_000)
}

#[tokio::test]
async fn wrong_bytes_are_found_out_whatever_they_are_part_of() {
    let image = image();
    let targets = [
        image.layer_digest(0).to_string(),
        image.layer_digest(1).to_string(),
        Digest::of(&image.config).to_string(),
    ];
    for target in targets {
        let fake = Fake::with(&image, "latest");
        let (error, _server) = refused(move |request| {
            let mut reply = fake.reply(request);
            if request.path().ends_with(&target) {
                // The last byte is no part of what decompression looks at closely.
                *reply.body.last_mut().unwrap() ^= 1;
            }
            reply
        })
        .await;
        let text = berth_error::chain(&error);
        assert!(
            matches!(error, DistributionError::WrongDigest { .. }) || text.contains("unpack"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    // Another file, well compressed: only the digests tell.
    let image = image();
    let evil = crate::image::pack(&crate::image::tar("evil", b"x"), Pack::Gzip);
    let digest = Digest::of(&evil);
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let original = image.layers[0].len();
    let mut padded = evil.clone();
    padded.resize(original, 0);
    let (error, _server) = refused(move |request| {
        let mut reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            reply.body.clone_from(&padded);
        }
        reply
    })
    .await;
    assert!(!error.to_string().is_empty());

    // The digest of the blob is right, that of the tar is not what the configuration says.
    let swapped = image.edit(|manifest| {
        manifest["layers"][0] = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &evil);
    });
    let fake = Fake::with(&swapped, "latest");
    let blob = evil.clone();
    let (error, _server) = refused(move |request| {
        if request.path().ends_with(digest.as_str()) {
            return Reply::new(200).body(blob.clone());
        }
        fake.reply(request)
    })
    .await;
    let text = error.to_string();
    assert!(text.contains("the uncompressed tar of layer"), "{text}");
}

#[tokio::test]
async fn a_manifest_has_the_digest_that_it_was_asked_for_by() {
    let image = image();
    let other = TestImage::new(8, &[Pack::Gzip], 10);
    let fake = Fake::with(&image, "latest");
    fake.add_blobs(&other);
    let bytes = other.manifest.clone();
    let server = Server::start(move |request| {
        let mut reply = fake.reply(request);
        if request.path().contains("/manifests/") {
            reply.body.clone_from(&bytes);
        }
        reply
    })
    .await;
    let store = Store::new();
    for name in [
        // By tag: the registry itself says another digest.
        format!("{}/app", server.host()),
        format!("{}/app@{}", server.host(), image.digest()),
    ] {
        let error = client()
            .pull(
                &store.store,
                &reference(&name),
                &PullOptions::default(),
                &|_| {},
            )
            .await
            .unwrap_err();
        assert!(
            matches!(error, DistributionError::WrongDigest { .. }),
            "{error}"
        );
        store.assert_empty();
    }
}

#[tokio::test]
async fn bodies_without_end_are_cut_off() {
    // A manifest: with a length that is too large, and without any.
    let (error, _server) = refused(|_| {
        Reply::new(200)
            .header("Content-Type", OCI_MANIFEST)
            .body(vec![b' '; (4 << 20) + 1])
    })
    .await;
    assert!(error.to_string().contains("more than 4 MiB"), "{error}");
    let (error, _server) = refused(|_| {
        Reply::new(200)
            .header("Content-Type", OCI_MANIFEST)
            .end(End::Endless)
    })
    .await;
    assert!(error.to_string().contains("more than 4 MiB"), "{error}");
    // A blob that is announced to be too long.
    let image = image();
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let (error, _server) = refused(move |request| {
        let mut reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            reply.body.push(0);
        }
        reply
    })
    .await;
    assert!(error.to_string().contains("sends more than"), "{error}");
    // One that goes on and on is read as far as the blob goes.
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let server = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            return reply.end(End::Endless);
        }
        reply
    })
    .await;
    let name = reference(&format!("{}/app", server.host()));
    let store = Store::new();
    client()
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    // A configuration that says it is a gigabyte is not even asked for.
    let huge = image.edit(|manifest| manifest["config"]["size"] = json!(1 << 30));
    let fake = Fake::with(&huge, "latest");
    let (error, server) = refused(move |request| fake.reply(request)).await;
    assert!(error.to_string().contains("larger than 8 MiB"), "{error}");
    assert_eq!(server.requests().len(), 1);
    // A refusal without end is a refusal.
    let (error, _server) = refused(|_| Reply::new(400).end(End::Endless)).await;
    assert!(
        matches!(error, DistributionError::Refused { status: 400, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let layer = image.layer_digest(0).to_string();
    let (error, _server) = refused(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            return match request.header("range") {
                None => reply.end(End::Cut(50_000)),
                Some(_) => {
                    // It would leave a hole.
                    let mut reply = Reply::new(206).body(reply.body[1000..].to_vec());
                    reply = reply.header("Content-Range", "bytes 51000-99999/100000");
                    reply
                }
            };
        }
        reply
    })
    .await;
    assert!(error.to_string().contains("another part"), "{error}");
}

#[tokio::test]
async fn redirects_do_not_carry_credentials_away() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let storage = {
        let fake = fake.clone();
        // It asks for credentials, and must not get any.
        Server::start(move |request| match request.header("authorization") {
            None => fake.reply(request),
            Some(_) => Reply::new(400).body("credentials"),
        })
        .await
    };
    let away = storage.host();
    let server = Server::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if request.path().contains("/blobs/") {
            let location = format!("http://{away}{}", request.target);
            return Reply::new(307).header("Location", location);
        }
        fake.reply(request)
    })
    .await;
    let store = Store::new();
    let name = reference(&format!("{}/app", server.host()));
    let credential = berth_distribution::Credential::password("me", "secret", "the test");
    let keyring = Keyring::only(&server.host(), credential);
    berth_distribution::Client::new(Registries::default(), keyring, options())
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(storage.requests().len(), 3);
    for request in storage.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[tokio::test]
async fn who_is_redirected_to_gets_no_login_either() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let thief = Server::start(|_| {
        Reply::new(401).header("WWW-Authenticate", "Basic realm=\"give me all\"")
    })
    .await;
    let away = thief.host();
    let server = Server::start(move |request| {
        if request.path().contains("/blobs/") {
            return Reply::new(302).header("Location", format!("http://{away}/x"));
        }
        fake.reply(request)
    })
    .await;
    let store = Store::new();
    let credential = berth_distribution::Credential::password("me", "secret", "the test");
    // Even if there are credentials for it: they were not asked for by it.
    let keyring = Keyring::only(&thief.host(), credential);
    let error = berth_distribution::Client::new(Registries::default(), keyring, options())
        .pull(
            &store.store,
            &reference(&format!("{}/app", server.host())),
            &PullOptions::default(),
            &|_| {},
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, DistributionError::Refused { status: 401, .. }),
        "{error}"
    );
    assert!(
        thief
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[tokio::test]
async fn redirects_end() {
    let (error, server) =
        refused(|request| Reply::new(302).header("Location", request.target.clone())).await;
    assert!(
        error.to_string().contains("redirects more than 5 times"),
        "{error}"
    );
    assert_eq!(server.requests().len(), 6);
    for location in ["file:///etc/passwd", "http://[bad"] {
        let (error, _server) = refused(move |_| Reply::new(302).header("Location", location)).await;
        assert!(
            matches!(error, DistributionError::Protocol { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn documents_that_are_two_things_or_none_are_refused() {
    let image = image();
    let both = image.edit(|manifest| {
        manifest["manifests"] = json!([descriptor(OCI_MANIFEST, b"x")]);
    });
    let chart = image.edit(|manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    });
    let foreign = image.edit(|manifest| {
        manifest["layers"][0]["mediaType"] =
            json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:1/layer"]);
    });
    let encrypted = image.edit(|manifest| {
        manifest["layers"][0]["mediaType"] =
            json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    });
    let short = image.edit(|manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    let negative = image.edit(|manifest| manifest["layers"][0]["size"] = json!(-1));
    let traversal = image.edit(|manifest| {
        manifest["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    });
    for (manifest, kind, expected) in [
        (both.manifest.clone(), OCI_MANIFEST, "the fields of"),
        (both.manifest, "", "the fields of"),
        (image.manifest.clone(), OCI_INDEX, "the registry says"),
        (image.manifest.clone(), "text/html", "the registry says"),
        (b"<html></html>".to_vec(), "text/html", "cannot be read"),
        (
            br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec(),
            "",
            "manifest schema 1",
        ),
        (chart.manifest, OCI_MANIFEST, "helm.config"),
        (
            foreign.manifest,
            OCI_MANIFEST,
            "is not distributed by registries",
        ),
        (encrypted.manifest, OCI_MANIFEST, "encrypted"),
        (
            short.manifest,
            OCI_MANIFEST,
            "has 1 layers and its configuration 2",
        ),
        (negative.manifest, OCI_MANIFEST, "cannot be read"),
        (traversal.manifest, OCI_MANIFEST, "cannot be read"),
        (index(&[]), OCI_INDEX, "its index is empty"),
    ] {
        let fake = Fake::default();
        fake.add_blobs(&image);
        fake.add_manifest("latest", kind, &manifest);
        let (error, server) = refused(move |request| fake.reply(request)).await;
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(server.count("GET", image.layer_digest(0).as_str()), 0);
    }
}

#[tokio::test]
async fn indexes_are_followed_to_a_depth() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let mut document = image.manifest.clone();
    let mut kind = OCI_MANIFEST;
    for _ in 0..6 {
        document = index(&[(kind, &document, None)]);
        kind = OCI_INDEX;
        fake.add_manifest("latest", OCI_INDEX, &document);
    }
    let (error, _server) = refused(move |request| fake.reply(request)).await;
    assert!(error.to_string().contains("more than 4 indexes"), "{error}");
}

#[tokio::test]
async fn a_size_that_is_a_lie_is_found_out() {
    let image = image();
    let mut lie: serde_json::Value =
        serde_json::from_slice(&index(&[(OCI_MANIFEST, &image.manifest, None)])).unwrap();
    lie["manifests"][0]["size"] = json!(1);
    let fake = Fake::with(&image, "x");
    fake.add_manifest("latest", OCI_INDEX, lie.to_string().as_bytes());
    let (error, _server) = refused(move |request| fake.reply(request)).await;
    assert!(error.to_string().contains("has 1 bytes, it has"), "{error}");
}

#[tokio::test]
async fn answers_that_are_not_http_are_errors() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let noise = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let store = Store::new();
    let error = client()
        .pull(
            &store.store,
            &reference(&format!("{host}/app")),
            &PullOptions::default(),
            &|_| {},
        )
        .await
        .unwrap_err();
    noise.abort();
    assert!(
        matches!(error, DistributionError::Interrupted { .. }),
        "{error}"
    );
    store.assert_empty();
}

#[tokio::test]
async fn names_of_blobs_do_not_escape_into_urls() {
    // A reference cannot contain what would change the path; this is the grammar's doing.
    for bad in [
        "127.0.0.1:1/../x",
        "127.0.0.1:1/a?b",
        "127.0.0.1:1/a#b",
        "127.0.0.1:1/a%2e",
    ] {
        assert!(bad.parse::<berth_image::Reference>().is_err(), "{bad}");
    }
}
