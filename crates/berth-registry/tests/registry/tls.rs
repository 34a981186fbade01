//! HTTPS: the server's own certificate, and the address of the token endpoint.

use serde_json::json;

use crate::support::{Answer, Server, provide_cryptography};

#[tokio::test]
async fn clients_come_by_https_and_are_sent_to_https() {
    provide_cryptography();
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (
        directory.path().join("chain.pem"),
        directory.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let server = Server::start(json!({"anonymous": "nothing", "cert": chain, "cert_key": key}));
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .add_root_certificate(root)
        .build()
        .unwrap();
    let port = server.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/v2/");
    let answer = Answer::of(client.get(&url).send().await.unwrap()).await;
    let challenge = answer.error(401, "UNAUTHORIZED").header("www-authenticate");
    assert!(
        challenge.contains(&format!("realm=\"https://localhost:{port}/v2/token\"")),
        "{challenge}"
    );
    // Plain HTTP gets no answer, and the server goes on.
    let plain = server.request("GET", "/v2/").send().await;
    assert!(plain.is_err());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn both_kinds_of_clients_come_to_one_port() {
    provide_cryptography();
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (
        directory.path().join("chain.pem"),
        directory.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let server = Server::start(json!({
        "anonymous": "read", "cert": chain, "cert_key": key, "plain_too": true, "head_ms": 200,
    }));
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .add_root_certificate(root)
        .build()
        .unwrap();
    // Nobody waits for one that says nothing.
    let silent = tokio::net::TcpStream::connect(&server.address)
        .await
        .unwrap();
    for scheme in ["https", "http"] {
        let url = format!("{scheme}://{}/v2/", server.address);
        let answer = client.get(&url).send().await.unwrap();
        assert!(
            answer
                .headers()
                .contains_key("docker-distribution-api-version")
        );
    }
    let mut byte = [0];
    silent.readable().await.unwrap();
    assert_eq!(silent.try_read(&mut byte).unwrap(), 0, "it is sent away");
}
