//! `berth registry`.

mod credentials;
mod gc;
mod serve;
pub(crate) mod values;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use berth_error::{Report, ResultExt as _};
use berth_registry::auth::{Anonymous, SignedCredentials, SigningKey};
use berth_registry::storage::{Bucket, BucketOptions, Directory, Storage};
use berth_registry::{CollectOptions, Registry, RegistryOptions};

use crate::cli::{RegistryCollectArgs, RegistryCommand, RegistryStorageArgs};
use crate::paths::{Paths, absolute};

pub(crate) async fn run(command: RegistryCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        RegistryCommand::Serve(args) => Box::pin(serve::run(*args, paths)).await,
        RegistryCommand::Gc(args) => gc::run(args, paths).await,
        RegistryCommand::Credentials(args) => credentials::run(&args, paths),
    }
}

/// Where the registry keeps things on this machine.
fn root(paths: &Paths) -> PathBuf {
    paths.data.join("registry")
}

/// What the commands have in common.
struct Kept {
    storage: Arc<dyn Storage>,
    /// The directory, unless it is a bucket.
    directory: Option<Directory>,
    key: SigningKey,
}

impl Kept {
    fn open(args: &RegistryStorageArgs, paths: &Paths) -> Result<Self, Report> {
        let key = key(args, paths)?;
        if let Some(name) = &args.bucket {
            let (name, prefix) = name.split_once('/').unwrap_or((name, ""));
            let bucket = Bucket::open(&BucketOptions {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: args.bucket_endpoint.clone(),
            })?;
            return Ok(Self {
                storage: Arc::new(bucket),
                directory: None,
                key,
            });
        }
        let directory = Directory::open(&root(paths))?;
        Ok(Self {
            storage: Arc::new(directory.clone()),
            directory: Some(directory),
            key,
        })
    }

    /// The registry, with what anybody may do.
    async fn registry(
        &self,
        anonymous: Anonymous,
        options: RegistryOptions,
    ) -> Result<Registry, Report> {
        let authority = SignedCredentials::new(self.key.clone(), anonymous);
        let (storage, key) = (self.storage.clone(), self.key.clone());
        let registry = Registry::open(storage, Arc::new(authority), key, options).await;
        registry.context("could not open the registry")
    }
}

/// The key that signs tokens and passwords.
fn key(args: &RegistryStorageArgs, paths: &Paths) -> Result<SigningKey, Report> {
    let path = match &args.key_file {
        Some(path) => absolute(path)?,
        None => {
            let root = root(paths);
            fs_err::create_dir_all(&root).context("could not make the registry's directory")?;
            root.join("key")
        }
    };
    Ok(SigningKey::kept_in(&path)?)
}

fn collect_options(args: &RegistryCollectArgs) -> CollectOptions {
    CollectOptions {
        grace: args.grace,
        upload_expiry: args.upload_expiry,
        untagged_after: args.untagged_after,
        interval: None,
    }
}
