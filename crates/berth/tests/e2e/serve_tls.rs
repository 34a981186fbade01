//! `berth serve` with TLS: certificates of files and of an authority, exchanged while it runs; the API over TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_test::{Authority, Project, ServerSession, free_port, handshake, try_handshake};
use serde_json::Value;

use crate::world;

/// Longer than until the server looks at its files, or at what an authority is to give.
const LOOK: Duration = Duration::from_secs(30);

/// A certificate of this name, in the place of the one that was there.
fn certificate(directory: &Path, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(directory.join("own.key"), made.key_pair.serialize_pem()).unwrap();
    std::fs::write(directory.join("own.pem"), made.cert.pem()).unwrap();
    made.cert.der().to_vec()
}

/// The certificate that clients are shown; empty: none.
async fn shown(server: &ServerSession, name: &'static str) -> Vec<u8> {
    let address: SocketAddr = server.said("tls_address").parse().unwrap();
    let spoken = try_handshake(address, name, &[b"http/1.1"]).await;
    spoken.map_or_else(|_| Vec::new(), |(_, shown)| shown.to_vec())
}

/// Waits until clients are shown a certificate.
async fn until(server: &ServerSession, name: &'static str, wanted: impl Fn(&[u8]) -> bool) {
    let began = Instant::now();
    while !wanted(&shown(server, name).await) {
        assert!(began.elapsed() < LOOK, "{}", server.transcript());
        // Nothing says when a server has read its files.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn greeter() -> Project {
    let project = Project::empty();
    let config = r#"{"name": "secure", "main": "index.js", "compatibility_date": "2026-11-01"}"#;
    project.write("wrangler.json", config);
    project.write(
        "index.js",
        "export default { fetch: (request) => new Response(new URL(request.url).protocol) };",
    );
    project
}

#[tokio::test]
async fn certificates_of_files_are_exchanged_and_the_api_has_them() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let first = certificate(data.path(), &["localhost", "secure.localhost"]);
    let settings = "[listen]\nhttps = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
        [tls]\ncertificates = [{ certificate = \"own.pem\", key = \"own.key\" }]\n";
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let server = world.server(data.path()).await;
    assert_eq!(shown(&server, "secure.localhost").await, first);

    // The API speaks TLS to those who want it, and plain HTTP to this machine.
    let project = greeter();
    let api = server
        .said("api")
        .replace("http://127.0.0.1", "https://localhost");
    let authority = data.path().join("own.pem");
    let token = server.variable("CLOUDFLARE_API_TOKEN").to_owned();
    let account = server.variable("CLOUDFLARE_ACCOUNT_ID").to_owned();
    let over_tls = [
        ("CLOUDFLARE_API_BASE_URL", api.as_str()),
        ("CLOUDFLARE_API_TOKEN", &token),
        ("CLOUDFLARE_ACCOUNT_ID", &account),
        ("NODE_EXTRA_CA_CERTS", authority.to_str().unwrap()),
    ];
    let deployed = server.wrangler_with(&project, ["deploy"], &over_tls).await;
    assert!(deployed.status.success(), "{deployed:?}");
    let who = server
        .berth(&project, ["whoami", "--json"], "", &over_tls)
        .await;
    let who: Value = serde_json::from_slice(&who.stdout).unwrap();
    assert!(who.to_string().contains("https://localhost"), "{who}");
    let metrics: SocketAddr = server.said("metrics").parse().unwrap();
    let (_, own) = handshake(metrics, "localhost", &[b"http/1.1"]).await;
    assert_eq!(own.to_vec(), first);
    server
        .wrangler_ok(&project, ["deployments", "list"], "")
        .await;
    assert_eq!(server.text("secure", "/").await, "http:");

    // Written anew and told so; written anew and not told; one that does not fit changes nothing.
    let second = certificate(data.path(), &["localhost", "second.example"]);
    server.hang_up();
    until(&server, "localhost", |der| der == second).await;
    let third = certificate(data.path(), &["localhost", "a-longer-third.example"]);
    until(&server, "localhost", |der| der == third).await;
    std::fs::write(data.path().join("own.key"), "no key").unwrap();
    server.hang_up();
    // It has been read when a later one has.
    assert_eq!(shown(&server, "localhost").await, third);
    let fourth = certificate(data.path(), &["localhost", "fourth.example"]);
    server.hang_up();
    until(&server, "localhost", |der| der == fourth || der != third).await;
    assert_eq!(shown(&server, "localhost").await, fourth);
    server.stop().await;
}

fn settings(http: u16, authority: &Authority, more: &str) -> String {
    format!(
        "base_domain = \"example.com\"\n[listen]\nhttp = \"127.0.0.1:{http}\"\n\
         https = \"127.0.0.1:0\"\n[acme]\ndirectory = \"{}\"\nca = \"{}\"\n\
         terms_accepted = true\n{more}",
        authority.directory,
        authority.ca.display(),
    )
}

#[tokio::test]
async fn a_deployed_worker_gets_a_certificate_that_is_renewed_in_time() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let http = free_port();
    let authority = Authority::start(data.path(), http);
    let write = |more: &str| {
        let text = settings(http, &authority, more);
        std::fs::write(data.path().join("berth.toml"), text).unwrap();
    };
    write("");
    let listen = format!("127.0.0.1:{http}");
    let more = ["--listen", listen.as_str()];
    let server = world.server_with(data.path(), &more).await;
    let project = greeter();
    server.wrangler_ok(&project, ["deploy"], "").await;
    let kept = data.path().join("acme/secure.example.com/certificate.pem");
    let began = Instant::now();
    let first = loop {
        if let Ok(first) = std::fs::read(&kept) {
            break first;
        }
        assert!(began.elapsed() < LOOK, "{}", server.transcript());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let status = server.berth_ok(&project, ["status", "--json"], "").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let certificate = &status["certificates"][0];
    assert_eq!(certificate["name"], "secure.example.com", "{status}");
    assert_eq!(certificate["obtained"], true);
    let original = shown(&server, "secure.example.com").await;
    server.stop().await;

    // As long as enough is left of it, another start asks for none.
    let server = world.server_with(data.path(), &more).await;
    until(&server, "secure.example.com", |der| der == original).await;
    assert_eq!(std::fs::read(&kept).unwrap(), first);
    server.stop().await;

    // More is to be left than there is: it is renewed.
    write("renew_before = \"36000d\"\n");
    let server = world.server_with(data.path(), &more).await;
    until(&server, "secure.example.com", |der| {
        !der.is_empty() && std::fs::read(&kept).unwrap() != first && der != original
    })
    .await;
    let renewed = shown(&server, "secure.example.com").await;
    server.stop().await;

    // An authority that is gone takes nothing away.
    drop(authority);
    let server = world.server_with(data.path(), &more).await;
    until(&server, "secure.example.com", |der| der == renewed).await;
    server.stop().await;
}
