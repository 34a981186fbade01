//! Name look-ups of a container.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{OUTSIDE4, in_world, inside, internet, offline, options};
use crate::{DnsPolicy, Egress, Network, NetworkOptions, RESOLVER_ADDRESS};

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new();
    message
        .set_id(0x1234)
        .set_message_type(MessageType::Query)
        .set_op_code(OpCode::Query)
        .set_recursion_desired(true)
        .add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// Sends bytes to a resolver's port 53 and returns what comes back from there.
fn ask_bytes(server: IpAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Connected: an answer from another address or port would not be delivered.
    socket.connect((server, 53))?;
    socket.send(bytes)?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn ask(server: IpAddr, name: &str, kind: RecordType) -> Message {
    Message::from_vec(&ask_bytes(server, &query(name, kind)).unwrap()).unwrap()
}

fn ask_by_tcp(server: IpAddr, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect((server, 53)).unwrap();
    let query = query(name, kind);
    let length = u16::try_from(query.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(&query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    let records = message.answers().iter();
    records.map(|record| record.data().to_string()).collect()
}

/// What the fake resolver says: `long.example` does not fit a datagram, `*.example` is 192.0.2.1,
/// the rest does not exist.
fn upstream_answer(bytes: &[u8], fits: bool) -> Vec<u8> {
    let query = Message::from_vec(bytes).unwrap();
    let question = query.queries()[0].clone();
    let name = question.name().to_ascii().to_lowercase();
    let mut answer = Message::new();
    answer
        .set_id(query.id())
        .set_message_type(MessageType::Response)
        .add_query(question.clone());
    if name == "long.example." && !fits {
        answer.set_truncated(true);
    } else if name == "rebound.example." {
        let data = RData::A(A([169, 254, 169, 254].into()));
        answer.add_answer(Record::from_rdata(question.name().clone(), 0, data));
    } else if name.ends_with(".example.") {
        let data = RData::A(A([192, 0, 2, 1].into()));
        answer.add_answer(Record::from_rdata(question.name().clone(), 7, data));
    } else {
        answer.set_response_code(ResponseCode::NXDomain);
    }
    answer.to_vec().unwrap()
}

/// Starts the fake resolver in the private host.
async fn upstream() -> SocketAddr {
    let (listener, address) = super::world::listen(OUTSIDE4).await;
    let socket = tokio::net::UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = upstream_answer(&buffer[..length], false);
            // An answer to another query first: it must not be taken.
            let mut other = answer.clone();
            other[0] ^= 0xff;
            socket.send_to(&other, peer).await.unwrap();
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            let answer = upstream_answer(&query, true);
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

async fn network(egress: Egress, resolvers: Vec<SocketAddr>) -> std::sync::Arc<Network> {
    let options = NetworkOptions {
        resolvers: Some(resolvers),
        ..options()
    };
    Network::create_with(egress, options).await.unwrap()
}

fn allowing(egress: Egress, pattern: &str) -> Egress {
    Egress {
        dns: DnsPolicy {
            allow_hostnames: vec![pattern.to_owned()],
        },
        ..egress
    }
}

#[test]
fn with_the_internet_on_the_hosts_resolvers_answer() {
    in_world(|| async {
        // The first resolver refuses, the second one answers.
        let (dead, refusing) = super::world::listen(OUTSIDE4).await;
        drop(dead);
        let network = network(internet(), vec![refusing, upstream().await]).await;
        let other: IpAddr = "8.8.8.8".parse().unwrap();
        for server in [RESOLVER_ADDRESS, other, "2001:db8::53".parse().unwrap()] {
            let answer = inside(&network, move || ask(server, "www.example.", RecordType::A)).await;
            assert_eq!(addresses(&answer), ["192.0.2.1"], "{server}");
            assert_eq!(answer.id(), 0x1234);
        }
        let answer = inside(&network, || {
            ask(RESOLVER_ADDRESS, "no.such.name.", RecordType::A)
        })
        .await;
        assert_eq!(answer.response_code(), ResponseCode::NXDomain);
    });
}

#[test]
fn a_long_answer_comes_by_tcp() {
    in_world(|| async {
        let network = network(internet(), vec![upstream().await]).await;
        let (short, long) = inside(&network, || {
            let short = ask(RESOLVER_ADDRESS, "long.example.", RecordType::A);
            (
                short,
                ask_by_tcp(RESOLVER_ADDRESS, "long.example.", RecordType::A),
            )
        })
        .await;
        assert!(short.truncated());
        assert_eq!(addresses(&long), ["192.0.2.1"]);
    });
}

#[test]
fn an_allowed_name_that_does_not_exist_gets_the_fake_address() {
    in_world(|| async {
        let network = network(allowing(internet(), "*.internal"), vec![upstream().await]).await;
        let (fake, real, none) = inside(&network, || {
            (
                ask(RESOLVER_ADDRESS, "api.internal.", RecordType::A),
                ask(RESOLVER_ADDRESS, "www.example.", RecordType::A),
                ask(RESOLVER_ADDRESS, "api.external.", RecordType::A),
            )
        })
        .await;
        assert_eq!(addresses(&fake), ["11.0.0.1"]);
        assert_eq!(addresses(&real), ["192.0.2.1"]);
        assert_eq!(none.response_code(), ResponseCode::NXDomain);
    });
}

#[test]
fn with_the_internet_off_only_allowed_names_resolve() {
    in_world(|| async {
        // A resolver that would answer, to show that nobody asks it.
        let network = network(allowing(offline(), "*.Example"), vec![upstream().await]).await;
        let (v4, v6, text, denied) = inside(&network, || {
            (
                ask(RESOLVER_ADDRESS, "API.eXample.", RecordType::A),
                ask(RESOLVER_ADDRESS, "api.example.", RecordType::AAAA),
                ask(RESOLVER_ADDRESS, "api.example.", RecordType::TXT),
                ask(RESOLVER_ADDRESS, "example.", RecordType::A),
            )
        })
        .await;
        assert_eq!(addresses(&v4), ["11.0.0.1"]);
        assert_eq!(v4.answers()[0].ttl(), 60);
        assert!(v4.authoritative());
        // The name comes back as it was written.
        assert_eq!(v4.queries()[0].name().to_ascii(), "API.eXample.");
        assert_eq!(addresses(&v6), ["fd00::1"]);
        assert_eq!(
            (text.response_code(), text.answers().len()),
            (ResponseCode::NoError, 0)
        );
        assert_eq!(denied.response_code(), ResponseCode::NXDomain);
        network.set_egress(offline());
        let now = inside(&network, || {
            ask(RESOLVER_ADDRESS, "api.example.", RecordType::A)
        })
        .await;
        assert_eq!(now.response_code(), ResponseCode::NXDomain);
    });
}

#[test]
fn localhost_is_known_and_no_resolver_is_a_failure() {
    in_world(|| async {
        let network = network(internet(), Vec::new()).await;
        let (local, failed) = inside(&network, || {
            (
                ask(RESOLVER_ADDRESS, "x.localhost.", RecordType::AAAA),
                ask(RESOLVER_ADDRESS, "www.example.", RecordType::A),
            )
        })
        .await;
        assert_eq!(addresses(&local), ["::1"]);
        assert_eq!(failed.response_code(), ResponseCode::ServFail);
    });
}

#[test]
fn malformed_queries_are_refused_and_do_no_harm() {
    in_world(|| async {
        let network = network(offline(), Vec::new()).await;
        let (refused, update) = inside(&network, || {
            let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
            for junk in [&b""[..], b"x", &[0xff; 11], &[0xff; 300]] {
                sender.send_to(junk, (RESOLVER_ADDRESS, 53)).unwrap();
            }
            let mut broken = query("a.example.", RecordType::A);
            broken[12] = 0xff;
            let refused = ask_bytes(RESOLVER_ADDRESS, &broken).unwrap();
            let mut update = query("a.example.", RecordType::A);
            update[2] = 5 << 3;
            (refused, ask_bytes(RESOLVER_ADDRESS, &update).unwrap())
        })
        .await;
        assert_eq!(
            refused[3] & 0x0f,
            u8::try_from(u16::from(ResponseCode::FormErr)).unwrap()
        );
        assert_eq!(
            update[3] & 0x0f,
            u8::try_from(u16::from(ResponseCode::NotImp)).unwrap()
        );
    });
}

#[test]
fn a_container_may_run_its_own_resolver() {
    in_world(|| async {
        let network = network(offline(), Vec::new()).await;
        let heard = inside(&network, || {
            let own = UdpSocket::bind("0.0.0.0:53").unwrap();
            own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"hello", "127.0.0.1:53").unwrap();
            let mut buffer = [0; 16];
            let length = own.recv(&mut buffer).unwrap();
            // And ours still answers at every other address.
            let answer = ask(RESOLVER_ADDRESS, "localhost.", RecordType::A);
            (buffer[..length].to_vec(), addresses(&answer))
        })
        .await;
        assert_eq!(heard, (b"hello".to_vec(), vec!["127.0.0.1".to_owned()]));
    });
}

#[test]
fn a_name_bound_to_a_forbidden_address_leads_nowhere() {
    in_world(|| async {
        let network = network(internet(), vec![upstream().await]).await;
        let (listener, local) = super::world::listen("0.0.0.0").await;
        let result = inside(&network, move || {
            let answer = ask(RESOLVER_ADDRESS, "rebound.example.", RecordType::A);
            let address: IpAddr = addresses(&answer)[0].parse().unwrap();
            super::world::exchange(SocketAddr::new(address, local.port()), b"")
        })
        .await;
        assert_eq!(
            result.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err());
    });
}

#[test]
fn without_internet_no_query_leaves_whatever_it_says() {
    in_world(|| async {
        let (listener, resolver) = super::world::listen(OUTSIDE4).await;
        let socket = tokio::net::UdpSocket::bind(resolver).await.unwrap();
        let network = network(allowing(offline(), "*.allowed.example"), vec![resolver]).await;
        inside(&network, move || {
            // Data in names, to the resolver of every address; also of names that are allowed.
            for name in ["c2VjcmV0.evil.example.", "c2VjcmV0.allowed.example."] {
                for kind in [RecordType::A, RecordType::TXT, RecordType::NULL] {
                    ask(RESOLVER_ADDRESS, name, kind);
                    ask(resolver.ip(), name, kind);
                    ask_by_tcp(resolver.ip(), name, kind);
                }
            }
            // To the resolver's own port.
            let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
            sender.send_to(b"secret", resolver).unwrap();
            assert!(super::world::exchange(resolver, b"secret").is_err());
        })
        .await;
        let mut buffer = [0; 16];
        let heard = tokio::time::timeout(Duration::from_millis(50), async {
            tokio::select! {
                _ = listener.accept() => (),
                _ = socket.recv(&mut buffer) => (),
            }
        });
        assert!(heard.await.is_err());
    });
}
