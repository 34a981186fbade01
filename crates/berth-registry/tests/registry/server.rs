//! The tests' server: a registry in a process of its own, told by one JSON argument how to behave.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the tests read its address")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_registry::auth::{Anonymous, SignedCredentials, SigningKey};
use berth_registry::server::{Plain, Server, ServerOptions};
use berth_registry::storage::{Bucket, BucketOptions, Directory, Storage};
use berth_registry::{CollectOptions, Limits, Registry, RegistryOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let config: Value = serde_json::from_str(&argument)?;
    let data = config["data"].as_str().unwrap_or_default();
    let (storage, lock) = storage(&config, Path::new(data))?;
    let key = SigningKey::new(&[7; 32])?;
    let anonymous = match config["anonymous"].as_str() {
        Some("nothing") => Anonymous::Nothing,
        Some("read") => Anonymous::Read,
        _ => Anonymous::Everything,
    };
    let authority = Arc::new(SignedCredentials::new(key.clone(), anonymous));
    let registry = Registry::open(storage, authority, key, options(&config)).await?;
    if config["gc"] == true {
        println!("{}", serde_json::to_string(&registry.collect().await?)?);
        return Ok(());
    }
    let address = config["listen"].as_str().unwrap_or("127.0.0.1:0").parse()?;
    let server_options = server_options(&config);
    let server = Server::bind(address, server_options).await?;
    println!("{}", server.address());
    let router = registry.router(server.is_secure());
    tokio::select! {
        () = server.run(router, CancellationToken::new()) => {}
        () = registry.keep_collecting() => {}
    }
    drop(lock);
    Ok(())
}

/// The storage, and the lock of whoever serves it.
fn storage(config: &Value, data: &Path) -> Outcome<(Arc<dyn Storage>, Option<std::fs::File>)> {
    if let Some(name) = config["bucket"].as_str() {
        let bucket = Bucket::open(&BucketOptions {
            name: name.to_owned(),
            prefix: "some/prefix".to_owned(),
            endpoint: config["endpoint"].as_str().map(str::to_owned),
        })?;
        return Ok((Arc::new(bucket), None));
    }
    let directory = Directory::open(data)?;
    let mut lock = None;
    if config["gc"] != true {
        lock = Some(directory.lock()?.ok_or("the directory is in use")?);
        directory.sweep()?;
    }
    Ok((Arc::new(directory), lock))
}

fn millis(config: &Value, name: &str) -> Option<Duration> {
    config[name].as_u64().map(Duration::from_millis)
}

fn options(config: &Value) -> RegistryOptions {
    let (limits, usual) = (Limits::default(), CollectOptions::default());
    let options = RegistryOptions::default();
    RegistryOptions {
        limits: Limits {
            image: config["image_limit"].as_u64().unwrap_or(limits.image),
            total: config["total_limit"].as_u64().unwrap_or(limits.total),
        },
        token_lifetime: millis(config, "token_ms").unwrap_or(options.token_lifetime),
        body_timeout: millis(config, "body_ms").unwrap_or(options.body_timeout),
        collect: CollectOptions {
            grace: millis(config, "grace_ms").unwrap_or(usual.grace),
            upload_expiry: millis(config, "upload_ms").unwrap_or(usual.upload_expiry),
            untagged_after: millis(config, "untagged_ms"),
            interval: millis(config, "interval_ms"),
        },
        ..options
    }
}

fn server_options(config: &Value) -> ServerOptions {
    let usual = ServerOptions::default();
    let tls = config["cert"].as_str().zip(config["cert_key"].as_str());
    ServerOptions {
        tls: tls.map(|(cert, key)| (cert.into(), key.into())),
        head_timeout: millis(config, "head_ms").unwrap_or(usual.head_timeout),
        write_timeout: millis(config, "write_ms").unwrap_or(usual.write_timeout),
        plain: match config["plain_too"] == true {
            true => Plain::Everybody,
            false => Plain::Nobody,
        },
        ..usual
    }
}
