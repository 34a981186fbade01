//! A certificate from a real authority: Let's Encrypt's test server, from Debian's package `pebble`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

use std::sync::Arc;

use berth_config::{AcmeConfig, CertificateFiles};
use berth_gateway::{Acme, AcmeError, Certificates, Challenges, Gateway, GatewayOptions, Sites};
use berth_test::Authority;
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
