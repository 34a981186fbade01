//! Clients that say anything: every connection ends, and nobody gets in.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, Exec, ExecSpec};
use berth_ssh::{Access, Container, ServeError, Server, USER};
use proptest::prelude::*;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Nobody gets as far as to start something.
struct Untouched;

#[async_trait::async_trait]
impl Container for Untouched {
    async fn exec(&self, spec: ExecSpec) -> Result<Exec, EngineError> {
        panic!("{spec:?} is started")
    }

    async fn ended(&self) {
        std::future::pending::<()>().await;
    }
}

/// Sends bytes, ends, and waits for the end; what was answered.
async fn send(server: Arc<Server>, bytes: Vec<u8>) -> Vec<u8> {
    let (mut client, stream) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(async move {
        let access = Access::default();
        server.serve(stream, access, Arc::new(Untouched)).await
    });
    let talk = async {
        // It may have heard enough before.
        let _ = client.write_all(&bytes).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), talk).await;
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(60), served).await;
    // However it ended: it did, and did not panic.
    let _ = ended.unwrap().unwrap();
    answer.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A packet before there are keys: length, padding, bytes.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + 1 + padding).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_of_any_kind_end_a_connection(
        hello in prop_oneof![Just("SSH-2.0-x\r\n".to_owned()), ".{0,300}"],
        raw in proptest::collection::vec(any::<u8>(), 0..2000),
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..5),
        kind in any::<u8>(),
    ) {
        let mut bytes = hello.into_bytes();
        for mut payload in packets {
            payload[0] = kind;
            bytes.extend(packet(&payload));
        }
        bytes.extend(raw);
        let answer = runtime().block_on(send(Arc::new(Server::new(&[1; 32])), bytes));
        prop_assert!(answer.starts_with(b"SSH-2.0-Berth\r\n"));
    }
}

/// A client that takes every server for the right one.
struct Trusting;

impl russh::client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn keys_are_not_tried_without_end() {
    let server = Arc::new(Server::new(&[1; 32]));
    let (client, stream) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(async move {
        let (known, other) = (key(1), key(2));
        let lines = [&known, &other].map(|key| key.public_key().to_openssh().unwrap());
        let access = Access::read(lines.iter().map(String::as_str), []).unwrap();
        server.serve(stream, access, Arc::new(Untouched)).await
    });
    let config = Arc::default();
    let mut client = russh::client::connect_stream(config, client, Trusting)
        .await
        .unwrap();
    let mut refused = 0;
    for seed in 3..100 {
        let stranger = PrivateKeyWithHashAlg::new(Arc::new(key(seed)), None);
        match client.authenticate_publickey(USER, stranger).await {
            Ok(answer) if !client.is_closed() => assert!(!answer.success()),
            _ => break,
        }
        refused += 1;
    }
    assert!((1..=6).contains(&refused), "{refused} keys were tried");
    drop(client);
    let _ = served.await.unwrap();
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_is_sent_away() {
    let server = Server::new(&[1; 32]);
    for hello in ["", "SSH-2.0-slow\r\n"] {
        let (mut client, stream) = tokio::io::duplex(1 << 16);
        client.write_all(hello.as_bytes()).await.unwrap();
        let ended = server
            .serve(stream, Access::default(), Arc::new(Untouched))
            .await;
        assert!(matches!(ended, Err(ServeError::LoginTime)), "{ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many_connections() {
    let server = Arc::new(Server::new(&[1; 32]));
    let mut open = Vec::new();
    for _ in 0..64 {
        let (client, stream) = tokio::io::duplex(1 << 16);
        let server = Arc::clone(&server);
        let served = async move {
            let served = server.serve(stream, Access::default(), Arc::new(Untouched));
            served.await
        };
        open.push((client, tokio::spawn(served)));
    }
    for (client, _) in &mut open {
        let mut hello = [0; 15];
        client.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"SSH-2.0-Berth\r\n");
    }
    let (_client, stream) = tokio::io::duplex(1 << 16);
    let refused = server
        .serve(stream, Access::default(), Arc::new(Untouched))
        .await;
    assert!(matches!(refused, Err(ServeError::TooMany)), "{refused:?}");
    for (_client, served) in open {
        let ended = served.await.unwrap();
        assert!(matches!(ended, Err(ServeError::LoginTime)), "{ended:?}");
    }
    let (_client, stream) = tokio::io::duplex(1 << 16);
    let later = server
        .serve(stream, Access::default(), Arc::new(Untouched))
        .await;
    assert!(
        matches!(later, Err(ServeError::LoginTime)),
        "there is room again"
    );
}
