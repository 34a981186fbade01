//! Images of a project: built here, pushed to the server's registry. Both do only what is new: a build
//! takes unchanged steps from its cache, a push sends blobs that the registry lacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_build::BuildRequest;
use berth_client::{Client, segment};
use berth_config::{ContainerApp, ImageSource, Project};
use berth_distribution::{
    Client as Registry, ClientOptions, Credential, HostConfig, Keyring, PushOptions, Registries,
};
use berth_error::{Report, ResultExt as _};
use berth_image::{Image, ImageStore, Reference};
use http::Method;
use serde_json::{Map, Value, json};

use super::steps::Steps;
use crate::build::bounds::BoundsFlags;
use crate::build::host::Sandboxes;
use crate::build::progress::{Mode, Progress};
use crate::build::surroundings;
use crate::cli::DeployArgs;
use crate::host::open_store;
use crate::paths::Paths;

/// Whose image: the container's name, and the image's own under the policy `durable_object`.
type Key = (String, Option<String>);

/// Makes images on this machine.
pub(super) struct Builder {
    store: ImageStore,
    sandboxes: Sandboxes,
    data: PathBuf,
    no_cache: bool,
}

impl Builder {
    /// One for a project, if it has a Dockerfile.
    pub(super) fn new(
        project: &Project,
        paths: &Paths,
        args: &DeployArgs,
    ) -> Result<Option<Self>, Report> {
        let built = |source: &ImageSource| matches!(source, ImageSource::Dockerfile { .. });
        if !wanted(project).any(|(_, _, source)| built(source)) {
            return Ok(None);
        }
        let store = open_store(&paths.data)?;
        Ok(Some(Self {
            sandboxes: Sandboxes::new(&paths.data, &project.root, store.clone()),
            store,
            data: paths.data.clone(),
            no_cache: args.no_cache,
        }))
    }

    /// Ends what builds have started, also one that was given up.
    pub(super) async fn end(self) {
        self.sandboxes.end().await;
    }
}

/// Images that are ready to be pushed.
#[derive(Default)]
pub(super) struct Images {
    built: Vec<(Key, Built)>,
}

enum Built {
    /// On this machine.
    Here(Image),
    /// Named in the configuration, wherever it is.
    Elsewhere(String),
}

/// References under which a server finds the images.
#[derive(Debug, Default)]
pub(super) struct Pushed(BTreeMap<Key, String>);

impl Pushed {
    /// The image of a container.
    pub(super) fn image(&self, container: &str) -> Option<&str> {
        let key = (container.to_owned(), None);
        self.0.get(&key).map(String::as_str)
    }

    /// Its named images.
    pub(super) fn named(&self, container: &str) -> Map<String, Value> {
        let own = self.0.iter().filter(|((app, _), _)| app == container);
        own.filter_map(|((_, name), image)| Some((name.clone()?, image.clone().into())))
            .collect()
    }
}

impl Images {
    /// Builds what is built from a Dockerfile.
    pub(super) async fn build(
        project: &Project,
        builder: Option<&Builder>,
        steps: &Steps,
    ) -> Result<Self, Report> {
        let mut images = Self::default();
        for (key, app, source) in wanted(project) {
            let built = match (source, builder) {
                (ImageSource::Reference(reference), _) => Built::Elsewhere(reference.clone()),
                (ImageSource::Dockerfile { .. }, Some(builder)) => {
                    let work = builder.build(app, source, steps);
                    Built::Here(steps.run("build", work).await?)
                }
                (ImageSource::Dockerfile { .. }, None) => continue,
            };
            images.built.push((key, built));
        }
        Ok(images)
    }

    /// Pushes what was built.
    pub(super) async fn push(
        &self,
        client: &Client,
        builder: Option<&Builder>,
        steps: &Steps,
    ) -> Result<Pushed, Report> {
        let mut pushed = Pushed::default();
        let mut target: Option<Target> = None;
        for (key, built) in &self.built {
            let reference = match (built, builder) {
                (Built::Elsewhere(reference), _) => reference.clone(),
                (Built::Here(image), Some(builder)) => {
                    let known = match target.take() {
                        Some(target) => target,
                        None => Target::find(client, &builder.data).await?,
                    };
                    let work = known.push(&builder.store, key, image);
                    let reference = steps.run("push", work).await?;
                    target = Some(known);
                    reference
                }
                (Built::Here(_), None) => continue,
            };
            pushed.0.insert(key.clone(), reference);
        }
        Ok(pushed)
    }
}

fn wanted(project: &Project) -> impl Iterator<Item = (Key, &ContainerApp, &ImageSource)> {
    project.containers.iter().flat_map(|app| {
        let default = app.image.iter().map(move |source| (None, source));
        let named = app.images.iter();
        let named = named.map(|(name, source)| (Some(name.clone()), source));
        let all = default.chain(named);
        all.map(move |(name, source)| ((app.name.clone(), name), app, source))
    })
}

impl Builder {
    async fn build(
        &self,
        app: &ContainerApp,
        source: &ImageSource,
        steps: &Steps,
    ) -> Result<(Image, String), Report> {
        let ImageSource::Dockerfile {
            dockerfile,
            context,
            args,
        } = source
        else {
            return Err(Report::new("only Dockerfiles are built", None));
        };
        let mut request = BuildRequest {
            dockerfile: dockerfile.clone(),
            context: context.clone(),
            args: args.clone(),
            no_cache: self.no_cache,
            bounds: BoundsFlags::from_environment()?,
            ..BuildRequest::default()
        };
        surroundings::apply(&mut request);
        let progress = Progress::start(match steps.is_json() {
            true => Mode::Json,
            false => Mode::fitting(),
        });
        let show = |event| progress.show(event);
        let work = berth_build::build(&self.store, &self.sandboxes, &request, &show);
        match Box::pin(work).await {
            Ok(image) => {
                progress.end();
                let id = image.id.to_string();
                let short = id.get(..19).unwrap_or(&id).to_owned();
                Ok((image, format!("{} {short}", app.name)))
            }
            Err(error) => {
                progress.failed(&error);
                let text = format!("the image of `{}` cannot be built", app.name);
                Err(Report::from(error).context(text))
            }
        }
    }
}

/// The server's registry, with a password for it.
struct Target {
    registry: Registry,
    host: String,
    /// First part of every name there.
    account: String,
}

impl Target {
    async fn find(client: &Client, data: &Path) -> Result<Self, Report> {
        let host = match &client.server().registry {
            Some(host) => host.clone(),
            // It has a listener of its own, which may be its machine's alone.
            None => client.authority().to_owned(),
        };
        if !berth_image::Reference::is_host(&host) {
            return Err(Report::new(
                format!("`{host}` cannot be the host of an image's name"),
                Some("name the server with its port, or with its whole name".to_owned()),
            ));
        }
        let path = format!("containers/registries/{}/credentials", segment(&host));
        let call = client.call(Method::POST, path);
        let wanted = json!({"expiration_minutes": 60, "permissions": ["push", "pull"]});
        let found: Value = call.json(&wanted).send().await?;
        let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let credential = Credential::password(
            word("username"),
            word("password"),
            "the server, for its registry",
        );
        let keyring = Keyring::only(&host, credential);
        let mut registries = Registries::load(data)?;
        if client.server().registry.is_none() {
            let config = HostConfig {
                plain_http: client.server().api.starts_with("http:"),
                ..registries.host(&host)
            };
            registries = registries.with_host(&host, config);
        }
        Ok(Self {
            registry: Registry::new(registries, keyring, ClientOptions::default()),
            account: word("account_id"),
            host,
        })
    }

    async fn push(
        &self,
        store: &ImageStore,
        (container, name): &Key,
        image: &Image,
    ) -> Result<(String, String), Report> {
        let suffix = name.iter().map(|name| format!("-{name}"));
        let repository = format!("{container}{}", suffix.collect::<String>()).to_lowercase();
        let repository = format!("{}/{}/{repository}", self.host, self.account);
        // A tag that tells images apart, so that none loses its name to the next one.
        let id = image.id.to_string();
        let tag = id.trim_start_matches("sha256:").get(..12).unwrap_or(&id);
        let reference: Reference = format!("{repository}:{tag}").parse()?;
        store.tag(image, &reference.to_string())?;
        let options = PushOptions::default();
        let quiet = |_| {};
        let pushed = self
            .registry
            .push(store, image, &reference, &options, &quiet)
            .await
            .context(format!("could not push the image of `{container}`"))?;
        let detail = match pushed.sent {
            0 => format!("{container}: the registry has it"),
            1 => format!("{container}: one new blob"),
            sent => format!("{container}: {sent} new blobs"),
        };
        Ok((format!("{repository}@{}", pushed.digest), detail))
    }
}
