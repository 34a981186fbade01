//! A certificate from a real authority: Let's Encrypt's test server, from Debian's package `pebble`.

use std::sync::Arc;

use berth_config::{AcmeConfig, CertificateFiles};
use berth_gateway::{Acme, AcmeError, Certificates, Challenges, Gateway, GatewayOptions, Sites};
use berth_test::{Authority, free_port, handshake, try_handshake};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_and_used() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, challenges): (Arc<Certificates>, Arc<Challenges>) = Default::default();
    let sites: Arc<Sites> = Arc::default();
    let mut options = GatewayOptions::at("127.0.0.1:0".parse().unwrap());
    options.challenges = Arc::clone(&challenges);
    options.certificates = Arc::clone(&certificates);
    // What is asked of the gateway before it is led to TLS.
    options.https = vec!["127.0.0.1:0".parse().unwrap()];
    options.redirect = true;
    let (events, _events) = mpsc::unbounded_channel();
    let gateway = Gateway::bind(options, Arc::clone(&sites), events)
        .await
        .unwrap();
    let authority = Authority::start(directory.path(), gateway.local_addr().port());
    let config = AcmeConfig {
        directory: authority.directory.clone(),
        email: Some("operator@example.com".to_owned()),
        domains: vec!["app.example.com".to_owned()],
        ca: Some(authority.ca.clone()),
        renew_before: None,
        terms_accepted: true,
    };
    let kept = directory.path().join("acme");
    let acme = |config: &AcmeConfig| {
        Acme::new(
            config.clone(),
            kept.clone(),
            Arc::clone(&sites),
            Arc::clone(&certificates),
            Arc::clone(&challenges),
        )
        .unwrap()
    };
    acme(&config).obtain("app.example.com").await.unwrap();
    let files = CertificateFiles {
        certificate: kept.join("app.example.com/certificate.pem"),
        key: kept.join("app.example.com/key.pem"),
    };
    let text = std::fs::read_to_string(&files.certificate).unwrap();
    assert!(
        text.matches("BEGIN CERTIFICATE").count() > 1,
        "with its chain: {text}"
    );
    let again = Certificates::default();
    again.load(std::slice::from_ref(&files)).unwrap();
    assert!(again.has_file_for("app.example.com") && !again.has_file_for("other.example.com"));
    // The second one belongs to the same account.
    let account = std::fs::read(kept.join("account.json")).unwrap();
    acme(&config).obtain("other.example.com").await.unwrap();
    assert_eq!(std::fs::read(kept.join("account.json")).unwrap(), account);

    // Nobody answers for the name: said, and what was there is still used.
    drop(gateway);
    let before = std::fs::read(&files.certificate).unwrap();
    let error = acme(&config).obtain("app2.example.com").await.unwrap_err();
    assert!(
        matches!(
            error,
            AcmeError::Refused { .. } | AcmeError::Authority { .. }
        ),
        "{error}"
    );
    assert_eq!(std::fs::read(&files.certificate).unwrap(), before);
}

/// Where nothing leads to the port for HTTP, the handshake of TLS is the proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_over_tls_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, challenges): (Arc<Certificates>, Arc<Challenges>) = Default::default();
    let sites: Arc<Sites> = Arc::default();
    let mut options = GatewayOptions::at("127.0.0.1:0".parse().unwrap());
    options.challenges = Arc::clone(&challenges);
    options.certificates = Arc::clone(&certificates);
    options.https = vec!["127.0.0.1:0".parse().unwrap()];
    let (events, _events) = mpsc::unbounded_channel();
    let gateway = Gateway::bind(options, Arc::clone(&sites), events)
        .await
        .unwrap();
    let secure = gateway.tls_addr().unwrap();
    let authority = Authority::start_at(directory.path(), free_port(), secure.port());
    let config = AcmeConfig {
        directory: authority.directory.clone(),
        email: None,
        domains: Vec::new(),
        ca: Some(authority.ca.clone()),
        renew_before: None,
        terms_accepted: true,
    };
    let kept = directory.path().join("acme");
    let acme = Acme::new(
        config,
        kept.clone(),
        sites,
        Arc::clone(&certificates),
        challenges,
    );
    let acme = acme.unwrap();
    for name in ["app.example.com", "other.example.com"] {
        acme.obtain(name).await.unwrap();
        let (_, shown) = handshake(secure, name, &[b"http/1.1"]).await;
        let file = kept.join(name).join("certificate.pem");
        let file = CertificateDer::from_pem_file(file).unwrap();
        assert_eq!(shown, file, "{name}");
    }
    // The proof is shown during an order only.
    let late = try_handshake(secure, "app.example.com", &[b"acme-tls/1"]).await;
    assert!(late.is_err());
}
