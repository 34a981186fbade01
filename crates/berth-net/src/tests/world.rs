//! A private host: a namespace of its own, in which every address is local, so that a test can
//! serve any address of "the internet" without touching the machine's network.

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::{Cidr, DnsPolicy, Egress, Network, NetworkOptions, Upstream, namespace, worker};

/// An address of "the internet".
pub(super) const OUTSIDE4: &str = "198.51.100.7";
/// The same for IPv6.
pub(super) const OUTSIDE6: &str = "2001:db8::7";

/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test on a runtime whose threads all live in a private host.
pub(super) fn in_world<F>(test: impl FnOnce() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let setup = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // What `create` captures and listens on is dropped: only the routes are wanted.
    let host = setup
        .block_on(namespace::create())
        .expect("namespaces need root")
        .fd;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || worker::enter(host.as_fd()).unwrap())
        .build()
        .unwrap();
    let test = test();
    // Spawned, because the thread that blocks is not in the private host.
    let outcome = runtime.block_on(async { tokio::spawn(tokio::time::timeout(LIMIT, test)).await });
    match outcome {
        Ok(finished) => finished.expect("the test hangs"),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Direct egress with the internet on.
pub(super) fn internet() -> Egress {
    Egress {
        upstream: Upstream::Direct,
        internet: true,
        dns: DnsPolicy::default(),
    }
}

/// Direct egress with the internet off.
pub(super) fn offline() -> Egress {
    Egress {
        internet: false,
        ..internet()
    }
}

/// Options that let containers reach the addresses served in the private host.
pub(super) fn options() -> NetworkOptions {
    let range = |address: &str, prefix| Cidr::new(address.parse().unwrap(), prefix).unwrap();
    NetworkOptions {
        allowed_destinations: vec![range("198.51.100.0", 24), range("2001:db8::", 32)],
        resolvers: Some(Vec::new()),
        ..NetworkOptions::default()
    }
}

pub(super) async fn network(egress: Egress) -> Arc<Network> {
    Network::create_with(egress, options()).await.unwrap()
}

/// Runs blocking code on a thread inside a container's namespace.
pub(super) async fn inside<T: Send + 'static>(
    network: &Network,
    code: impl FnOnce() -> T + Send + 'static,
) -> T {
    start_inside(network, code).await.unwrap()
}

/// Starts blocking code on a thread inside a container's namespace.
pub(super) fn start_inside<T: Send + 'static>(
    network: &Network,
    code: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let namespace: OwnedFd = network.namespace_owned().unwrap();
    let (answer, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        worker::enter(namespace.as_fd()).unwrap();
        let _ = answer.send(code());
    });
    tokio::spawn(async move { result.await.expect("the thread inside panicked") })
}

/// A listener in the private host.
pub(super) async fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    // An address that is local by a route alone can be bound freely only in IPv4.
    if address.is_ipv6() {
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends `bytes`, shuts writing down, and reads until the end.
pub(super) fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(bytes)?;
    // Fails where a reset was faster; reading says so.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
