//! The client against registries: a scripted one of our own for hostile answers and broken
//! connections, and Debian's `docker-registry`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod docker_registry;
mod fake;
mod hostile;
mod image;
mod login;
mod mirrors;
mod pull;
mod push;
mod server;

use std::time::Duration;

use berth_distribution::{
    Backoff, Client, ClientOptions, DistributionError, Keyring, PushOptions, Pushed, Registries,
};
use berth_image::{Image, ImageStore, Reference};

/// Short waits, so that no test is slow.
fn options() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        helper_timeout: Duration::from_secs(5),
        backoff: Backoff {
            first: Duration::from_millis(1),
            most: Duration::from_millis(5),
            most_asked: Duration::from_secs(3),
            attempts: 4,
        },
    }
}

fn client() -> Client {
    Client::new(Registries::default(), Keyring::default(), options())
}

struct Store {
    store: ImageStore,
    directory: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        Self { store, directory }
    }

    /// Nothing is visible, and nothing unfinished is left.
    fn assert_empty(&self) {
        assert!(self.store.list().unwrap().is_empty());
        let left: Vec<_> = std::fs::read_dir(self.store.scratch_dir())
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Pushes as nobody has asked for anything special.
async fn push(
    client: &Client,
    store: &Store,
    image: &Image,
    name: &Reference,
) -> Result<Pushed, DistributionError> {
    let options = PushOptions::default();
    client
        .push(&store.store, image, name, &options, &|_| {})
        .await
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}
