//! Mirrors, and certificates of one's own.

use std::sync::Arc;

use berth_distribution::{
    Client, Credential, DistributionError, HostConfig, Keyring, Progress, PullOptions, Registries,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fake::Fake;
use crate::image::{Pack, TestImage};
use crate::server::{End, Reply, Server};
use crate::{Store, options, reference};

fn image() -> TestImage {
    TestImage::new(5, &[Pack::Gzip, Pack::Zstd], 200_000)
}

fn mirrored(host: &str, mirrors: &[String]) -> Registries {
    let config = HostConfig {
        mirrors: mirrors.iter().map(|url| url.parse().unwrap()).collect(),
        ..HostConfig::default()
    };
    Registries::default().with_host(host, config)
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let registry = fake.clone();
    let origin = Server::start(move |request| registry.reply(request)).await;
    let empty = Server::start(|_| Reply::new(404)).await;
    let good = Server::start(move |request| {
        let mut request = request.clone();
        // It has the repositories of the registry below a path of its own.
        request.target = request.target.replace("/v2/hub/", "/v2/");
        fake.reply(&request)
    })
    .await;
    let gone = "http://127.0.0.1:1".to_owned();
    let mirrors = [
        gone.clone(),
        format!("http://{}", empty.host()),
        format!("http://{}/hub", good.host()),
    ];
    let name = reference(&format!("{}/team/app", origin.host()));
    let notes = std::sync::Mutex::new(Vec::new());
    let sink = |event| {
        if let Progress::Note { message } = event {
            notes.lock().unwrap().push(message);
        }
    };
    let registries = mirrored(&origin.host(), &mirrors);
    Client::new(registries, Keyring::default(), options())
        .pull(&Store::new().store, &name, &PullOptions::default(), &sink)
        .await
        .unwrap();
    assert!(origin.requests().is_empty());
    assert_eq!(good.count("GET", "/v2/hub/team/app/manifests/latest"), 1);
    assert_eq!(notes.lock().unwrap().len(), 2);

    let registries = mirrored(&origin.host(), &mirrors[..2]);
    Client::new(registries, Keyring::default(), options())
        .pull(&Store::new().store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(origin.count("GET", "/manifests/latest"), 1);
}

#[tokio::test]
async fn a_mirror_that_fails_in_the_middle_of_a_layer_is_taken_over_from() {
    let image = image();
    let fake = Fake::with(&image, "latest");
    let registry = fake.clone();
    let origin = Server::start(move |request| registry.reply(request)).await;
    let layer = image.layer_digest(0).to_string();
    let mirror = Server::start(move |request| {
        let reply = fake.reply(request);
        if request.path().ends_with(&layer) {
            return match request.header("range") {
                None => reply.end(End::Cut(70_000)),
                Some(_) => Reply::new(404),
            };
        }
        reply
    })
    .await;
    let name = reference(&format!("{}/team/app", origin.host()));
    let registries = mirrored(&origin.host(), &[format!("http://{}", mirror.host())]);
    Client::new(registries, Keyring::default(), options())
        .pull(&Store::new().store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    let asked = origin.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("range"), Some("bytes=70000-"));
}

#[tokio::test]
async fn a_mirror_gets_no_credentials_of_the_registry() {
    let fake = Fake::with(&image(), "latest");
    let origin = Server::start(move |request| match request.header("authorization") {
        Some(_) => fake.reply(request),
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    let mirror =
        Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")).await;
    let keyring = Keyring::only(&origin.host(), Credential::password("me", "pw", "the test"));
    let name = reference(&format!("{}/team/app", origin.host()));
    let registries = mirrored(&origin.host(), &[format!("http://{}", mirror.host())]);
    Client::new(registries, keyring, options())
        .pull(&Store::new().store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap();
    for request in mirror.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

/// A server with a certificate that nobody has signed, and the certificate as a file.
async fn with_own_certificate() -> (Server, tempfile::NamedTempFile) {
    let names = vec!["127.0.0.1".to_owned()];
    let generated = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(generated.key_pair.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![generated.cert.der().clone()], key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), generated.cert.pem()).unwrap();
    let fake = Fake::with(&image(), "latest");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(Some(acceptor), Arc::new(|_| None), move |request| {
        fake.reply(request)
    })
    .await;
    (server, file)
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_it_is_configured() {
    let (server, file) = with_own_certificate().await;
    let name = reference(&format!("{}/team/app", server.host()));
    let pull = async |config: HostConfig| {
        let registries = Registries::default().with_host(&server.host(), config);
        Client::new(registries, Keyring::default(), options())
            .pull(&Store::new().store, &name, &PullOptions::default(), &|_| {})
            .await
    };
    let error = pull(HostConfig::default()).await.unwrap_err();
    assert!(matches!(error, DistributionError::Tls { .. }), "{error}");
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains(r#""ca": "<file>""#), "{report}");
    let ca = Some(file.path().to_owned());
    pull(HostConfig {
        ca,
        ..HostConfig::default()
    })
    .await
    .unwrap();
    let skip_verify = true;
    pull(HostConfig {
        skip_verify,
        ..HostConfig::default()
    })
    .await
    .unwrap();

    std::fs::write(file.path(), "not a certificate").unwrap();
    let ca = Some(file.path().to_owned());
    let error = pull(HostConfig {
        ca,
        ..HostConfig::default()
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("needs certificates in PEM form"),
        "{error}"
    );
}

#[tokio::test]
async fn a_permission_for_one_host_is_none_for_another() {
    // The registry's certificate need not be known; that of where it redirects to must be.
    let (storage, _file) = with_own_certificate().await;
    let fake = Fake::with(&image(), "latest");
    let away = storage.host();
    let server = Server::start(move |request| {
        if request.path().contains("/blobs/") {
            let location = format!("https://{away}{}", request.target);
            return Reply::new(307).header("Location", location);
        }
        fake.reply(request)
    })
    .await;
    let config = HostConfig {
        plain_http: true,
        ..HostConfig::default()
    };
    let registries = Registries::default().with_host(&server.host(), config);
    let name = reference(&format!("{}/team/app", server.host()));
    let error = Client::new(registries, Keyring::default(), options())
        .pull(&Store::new().store, &name, &PullOptions::default(), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, DistributionError::Tls { .. }), "{error}");
}
