//! Debian's `docker-registry`: without login, with passwords, and with the tokens of a token server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use berth_distribution::{
    Client, Credential, DistributionError, HostConfig, Keyring, PullOptions, Registries,
};
use berth_image::{Image, Reference};
use berth_test::DockerRegistry;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use crate::fake::Fake;
use crate::image::{DOCKER_MANIFEST, Pack, TestImage, index};
use crate::server::{Reply, Server};
use crate::{Store, client, options, push, reference};

/// An image in a store, from nowhere that matters.
async fn stored(image: &TestImage) -> (Store, Image) {
    let fake = Fake::with(image, "latest");
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/origin", server.host()));
    let pulled = client()
        .pull(&store.store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    (store, pulled.image)
}

async fn pull(client: &Client, name: &Reference) -> Result<Image, DistributionError> {
    let store = Store::new();
    let pulled = client
        .pull(&store.store, name, &PullOptions::default(), &|_| {})
        .await?;
    Ok(pulled.image)
}

#[tokio::test]
async fn images_go_there_and_come_back() {
    let registry = DockerRegistry::start();
    let image = TestImage::new(11, &[Pack::Gzip, Pack::Zstd, Pack::Plain], 700_000);
    let (store, stored) = stored(&image).await;
    let name = reference(&format!("{}/team/app:1.0", registry.host()));
    let client = client();
    let pushed = push(&client, &store, &stored, &name).await.unwrap();
    assert_eq!((pushed.sent, pushed.digest.clone()), (4, image.digest()));
    let pulled = pull(&client, &name).await.unwrap();
    assert_eq!(pulled.id, stored.id);
    let by_digest = format!("{}/team/app@{}", registry.host(), pushed.digest);
    assert_eq!(
        pull(&client, &reference(&by_digest)).await.unwrap().id,
        stored.id
    );
    let found = client.manifest(&name).await.unwrap();
    assert_eq!(
        (found.bytes, found.digest),
        (image.manifest.clone(), image.digest())
    );

    // The layers are mounted from the repository that has them.
    let other = reference(&format!("{}/team/other:1.0", registry.host()));
    let pushed = push(&client, &store, &stored, &other).await.unwrap();
    assert_eq!(pushed.sent, 1, "only the configuration");
    assert_eq!(pull(&client, &other).await.unwrap().id, stored.id);

    let missing = reference(&format!("{}/team/app:2.0", registry.host()));
    let error = pull(&client, &missing).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no image `{missing}` in the registry")
    );
}

#[tokio::test]
async fn images_in_dockers_own_format_stay_in_it() {
    let image = TestImage::new(16, &[Pack::Gzip, Pack::Gzip], 50_000).edit(|manifest| {
        manifest["mediaType"] = json!(DOCKER_MANIFEST);
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        for layer in manifest["layers"].as_array_mut().unwrap() {
            layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
        }
    });
    let mut list: serde_json::Value = serde_json::from_slice(&index(&[(
        DOCKER_MANIFEST,
        &image.manifest,
        Some("linux/amd64"),
    )]))
    .unwrap();
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    list["mediaType"] = json!(kind);
    let fake = Fake::default();
    fake.add_blobs(&image);
    fake.add_manifest("x", DOCKER_MANIFEST, &image.manifest);
    fake.add_manifest("latest", kind, list.to_string().as_bytes());
    let server = Server::start(move |request| fake.reply(request)).await;
    let store = Store::new();
    let name = reference(&format!("{}/origin", server.host()));
    let options = PullOptions {
        platform: "linux/amd64".parse().unwrap(),
    };
    let pulled = client()
        .pull(&store.store, &name, &options, &|_| {})
        .await
        .unwrap();
    let registry = DockerRegistry::start();
    let name = reference(&format!("{}/app", registry.host()));
    push(&client(), &store, &pulled.image, &name).await.unwrap();
    let found = client().manifest(&name).await.unwrap();
    assert_eq!(
        (&*found.media_type, found.digest),
        (DOCKER_MANIFEST, image.digest())
    );
    assert_eq!(pull(&client(), &name).await.unwrap().id, pulled.image.id);
}

#[tokio::test]
async fn uploads_in_parts_are_taken() {
    let registry = DockerRegistry::start();
    let image = TestImage::new(12, &[Pack::Plain], 3_500_000);
    let (store, stored) = stored(&image).await;
    let config = HostConfig {
        upload_chunk: Some(1_000_000),
        ..HostConfig::default()
    };
    let registries = Registries::default().with_host(registry.host(), config);
    let client = Client::new(registries, Keyring::default(), options());
    let name = reference(&format!("{}/app", registry.host()));
    push(&client, &store, &stored, &name).await.unwrap();
    assert_eq!(pull(&client, &name).await.unwrap().id, stored.id);
}

/// A way to the registry that is cut after so many bytes of each large upload, some times.
async fn cut(registry: &str, after: usize, times: usize) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = registry.to_owned();
    tokio::spawn(async move {
        let mut left = times;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(&registry).await.unwrap();
            let limit = if left > 0 { after } else { usize::MAX };
            // One after the other: which connection is cut does not depend on chance.
            let (mut sent, mut from_client, mut from_server) = (0, vec![0; 65536], vec![0; 65536]);
            loop {
                tokio::select! {
                    read = client.read(&mut from_client) => match read {
                        Ok(count) if count > 0 => {
                            sent += count;
                            if server.write_all(&from_client[..count]).await.is_err() {
                                break;
                            }
                            if sent > limit {
                                left -= 1;
                                break;
                            }
                        }
                        _ => break,
                    },
                    read = server.read(&mut from_server) => match read {
                        Ok(count) if count > 0 => {
                            if client.write_all(&from_server[..count]).await.is_err() {
                                break;
                            }
                        }
                        _ => break,
                    },
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_push_goes_on_over_connections_that_are_cut() {
    let registry = DockerRegistry::start();
    let image = TestImage::new(13, &[Pack::Plain], 8_000_000);
    let (store, stored) = stored(&image).await;
    let address = cut(registry.host(), 1_500_000, 3).await;
    let mut registries = Registries::default();
    registries.parallel = 1;
    let client = Client::new(registries, Keyring::default(), options());
    let name = reference(&format!("{address}/app"));
    push(&client, &store, &stored, &name).await.unwrap();
    let direct = reference(&format!("{}/app", registry.host()));
    assert_eq!(pull(&client, &direct).await.unwrap().id, stored.id);
}

#[tokio::test]
async fn passwords_are_checked() {
    let registry = DockerRegistry::with_password();
    let host = registry.host();
    let with = |password: &str| {
        let credential = Credential::password(DockerRegistry::USER, password, "the test");
        let keyring = Keyring::only(host, credential);
        Client::new(Registries::default(), keyring, options())
    };
    let good = with(DockerRegistry::PASSWORD);
    good.check_login(host).await.unwrap();
    let error = with("wrong").check_login(host).await.unwrap_err();
    assert!(
        matches!(error, DistributionError::LoginRefused { .. }),
        "{error}"
    );
    let error = client().check_login(host).await.unwrap_err();
    assert!(
        matches!(error, DistributionError::LoginNeeded { .. }),
        "{error}"
    );
    let (store, stored) = stored(&TestImage::new(14, &[Pack::Gzip], 1000)).await;
    let name = reference(&format!("{host}/app"));
    push(&good, &store, &stored, &name).await.unwrap();
    assert_eq!(pull(&good, &name).await.unwrap().id, stored.id);
}

/// A token server as the registry trusts it.
struct TokenServer {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    random: ring::rand::SystemRandom,
}

impl TokenServer {
    fn token(&self, scopes: &[String], expires: u64) -> String {
        let access: Vec<_> = scopes
            .iter()
            .map(|scope| {
                let parts: Vec<&str> = scope.split(':').collect();
                let actions: Vec<&str> = parts[2].split(',').collect();
                json!({ "type": parts[0], "name": parts[1], "actions": actions })
            })
            .collect();
        let header = json!({
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [STANDARD.encode(&self.certificate)],
        });
        let claims = json!({
            "iss": "issuer", "sub": "me", "aud": "the registry",
            "exp": expires, "nbf": 0, "iat": 0, "jti": "1", "access": access,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&self.random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn tokens_of_a_token_server_are_fetched_again_when_they_have_ended() {
    let made = rcgen::generate_simple_self_signed(vec!["issuer".to_owned()]).unwrap();
    let random = ring::rand::SystemRandom::new();
    let der = made.key_pair.serialize_der();
    let issuer = TokenServer {
        key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap(),
        certificate: made.cert.der().to_vec(),
        random,
    };
    let issued = AtomicUsize::new(0);
    let tokens = Server::start(move |request| {
        // base64 of `me:s3cret`
        if request.header("authorization") != Some("Basic bWU6czNjcmV0") {
            return Reply::new(401).body(r#"{"details":"who are you?"}"#);
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        // Every other token has ended long ago, although its server thinks better of it.
        let ended = issued.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let expires = if ended { now - 600 } else { now + 300 };
        let token = issuer.token(&request.query("scope"), expires);
        Reply::new(200).body(json!({ "token": token, "expires_in": 300 }).to_string())
    })
    .await;
    let realm = format!("http://{}/token", tokens.host());
    let pem = made.cert.pem();
    let registry = DockerRegistry::with_auth(move |directory| {
        let bundle = directory.join("issuer.pem");
        std::fs::write(&bundle, pem).unwrap();
        format!(
            "auth:\n  token:\n    realm: {realm}\n    service: the registry\n    issuer: issuer\n    \
             rootcertbundle: {}\n",
            bundle.display()
        )
    });
    let host = registry.host();
    let image = TestImage::new(15, &[Pack::Gzip, Pack::Gzip], 200_000);
    let (store, stored) = stored(&image).await;
    let me = Keyring::only(host, Credential::password("me", "s3cret", "the test"));
    let client = Client::new(Registries::default(), me, options());
    for repository in ["team/one", "team/two"] {
        let name = reference(&format!("{host}/{repository}:1"));
        push(&client, &store, &stored, &name).await.unwrap();
        assert_eq!(pull(&client, &name).await.unwrap().id, stored.id);
    }
    let asked = tokens.requests();
    let scopes = |scope: &str| {
        asked
            .iter()
            .filter(|r| r.query("scope").contains(&scope.to_owned()))
            .count()
    };
    assert!(scopes("repository:team/one:pull,push") >= 2);
    assert!(scopes("repository:team/two:pull,push") >= 2);
    // Reading the other repository is a scope of its own, in the same request.
    let mount = asked
        .iter()
        .find(|request| request.query("scope").len() == 2)
        .unwrap();
    assert_eq!(
        mount.query("scope"),
        ["repository:team/two:pull,push", "repository:team/one:pull"]
    );

    let wrong = Keyring::only(host, Credential::password("me", "wrong", "`config.json`"));
    let wrong = Client::new(Registries::default(), wrong, options());
    let name = reference(&format!("{host}/team/one:1"));
    let error = pull(&wrong, &name).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("`{host}` does not accept the credentials of `config.json`: who are you?")
    );
}
