//! Real connections of this process and of another user's.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

/// A user that owns nothing here.
const STRANGER: u32 = 65534;

/// Both ways to know, which must agree.
fn entries(stream: &TcpStream) -> (Option<Entry>, table::Found) {
    let (SocketAddr::V4(theirs), SocketAddr::V4(ours)) =
        (stream.peer_addr().unwrap(), stream.local_addr().unwrap())
    else {
        panic!("an IPv4 connection");
    };
    let diagnosed = diagnosis::find(theirs, ours).unwrap();
    (diagnosed, table::find(theirs, ours).unwrap())
}

/// A shell of the stranger that connects to `listener` and then does `then` with descriptor 3.
fn stranger(listener: &TcpListener, then: &str) -> std::process::Child {
    let port = listener.local_addr().unwrap().port();
    Command::new("bash")
        .args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; {then}")])
        .uid(STRANGER)
        .gid(STRANGER)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn an_own_connection_is_the_own_users() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(peer(&accepted).unwrap(), Peer::User(own));
    let (diagnosed, table) = entries(&accepted);
    assert_eq!(diagnosed.unwrap().uid, own);
    assert_eq!(table, table::Found::Entry(diagnosed.unwrap()));
    drop(client);
}

#[tokio::test]
async fn a_strangers_connection_is_the_strangers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stranger = stranger(&listener, "read -r");
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(peer(&accepted).unwrap(), Peer::User(STRANGER));
    let (diagnosed, table) = entries(&accepted);
    assert_eq!(table, table::Found::Entry(diagnosed.unwrap()));
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
}

/// The kernel says "root" of a socket that was closed, whoever closed it.
#[tokio::test]
async fn what_a_stranger_left_behind_is_nobodys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stranger = stranger(&listener, "echo request >&3");
    stranger.wait().unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    assert_eq!(peer(&accepted).unwrap(), Peer::Gone);
    let (diagnosed, table) = entries(&accepted);
    for entry in [diagnosed, table_entry(table)].into_iter().flatten() {
        assert_eq!(entry.peer(), Peer::Gone, "{entry:?}");
    }
    let mut left = String::new();
    accepted.read_to_string(&mut left).await.unwrap();
    assert_eq!(left, "request\n");
}

fn table_entry(found: table::Found) -> Option<Entry> {
    match found {
        table::Found::Entry(entry) => Some(entry),
        table::Found::Nothing | table::Found::NoTable => None,
    }
}

/// With nobody connected from there, the kernel would answer with a listener on that port.
#[tokio::test]
async fn a_listener_is_no_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        panic!("an IPv4 listener");
    };
    let nobody = SocketAddrV4::new(*address.ip(), 1);
    assert_eq!(diagnosis::find(address, nobody).unwrap(), None);
    assert_eq!(table::find(address, nobody).unwrap(), table::Found::Nothing);
}

#[test]
#[ignore = "prints figures"]
fn speed_of_a_lookup() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..10_000 {
            assert_ne!(peer(&accepted).unwrap(), Peer::Gone);
        }
        println!("one lookup: {:?}", begun.elapsed() / 10_000);
    });
}
