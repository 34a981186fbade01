//! The container images of a project: built from Dockerfiles, or found in the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use berth_build::{BuildEvent, BuildHost, BuildRequest, EXPORT_STEP, HostFuture};
use berth_config::{ContainerApp, ImageSource, Project};
use berth_error::Report;
use berth_image::{Hold, ImageStore};
use berth_jail::Zygote;
use berth_workerd::ClassImages;
use futures_util::future::try_join_all;
use indexmap::IndexMap;

use super::event::DevEvent;
use super::screen::Screen;
use crate::base;
use crate::build::bounds::BoundsFlags;
use crate::build::{host, surroundings};

/// Builds the images of one project. A later build takes what has not changed from the cache.
#[derive(Debug)]
pub(crate) struct Images {
    store: ImageStore,
    zygote: Zygote,
    screen: Screen,
    no_cache: bool,
    /// What the project runs on, so that it is not collected while no container does.
    held: Mutex<BTreeMap<String, Hold>>,
}

impl Images {
    /// A builder over the store.
    pub(crate) fn new(store: ImageStore, zygote: Zygote, screen: Screen, no_cache: bool) -> Self {
        Self {
            store,
            zygote,
            screen,
            no_cache,
            held: Mutex::default(),
        }
    }

    /// Makes sure that every image of the project is in the store; the references, by class.
    pub(crate) async fn prepare(
        &self,
        project: &Project,
    ) -> Result<BTreeMap<String, ClassImages>, Report> {
        let apps = project.containers.iter().map(async |app| {
            let default = async {
                match &app.image {
                    Some(source) => {
                        let reference = self.provide(project, app, "latest", source).await?;
                        Ok(Some(reference))
                    }
                    None => Ok::<_, Report>(None),
                }
            };
            let named = try_join_all(app.images.iter().map(async |(name, source)| {
                let reference = self.provide(project, app, name, source).await?;
                Ok::<_, Report>((name.clone(), reference))
            }));
            let (default, named) = tokio::try_join!(default, named)?;
            let images = ClassImages {
                default,
                named: named.into_iter().collect::<IndexMap<_, _>>(),
            };
            Ok::<_, Report>((app.class_name.clone(), images))
        });
        Ok(try_join_all(apps).await?.into_iter().collect())
    }

    /// Builds or finds one image; its reference.
    async fn provide(
        &self,
        project: &Project,
        app: &ContainerApp,
        tag: &str,
        source: &ImageSource,
    ) -> Result<String, Report> {
        let reference = self.build_or_find(project, app, tag, source).await?;
        if let Some(image) = self.store.resolve(&reference)? {
            let purpose = format!("`berth dev` of `{}`", project.root.display());
            let hold = self.store.hold_for(&image, &purpose)?;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert(reference.clone(), hold);
        }
        Ok(reference)
    }

    async fn build_or_find(
        &self,
        project: &Project,
        app: &ContainerApp,
        tag: &str,
        source: &ImageSource,
    ) -> Result<String, Report> {
        match source {
            ImageSource::Reference(reference) => {
                self.base(&app.name, reference).await?;
                Ok(reference.clone())
            }
            ImageSource::Dockerfile {
                dockerfile,
                context,
                args,
            } => {
                let name = dev_image_name(&project.root, &app.name, tag);
                let mut request = BuildRequest {
                    dockerfile: dockerfile.clone(),
                    context: context.clone(),
                    args: args.clone(),
                    tags: vec![name.clone()],
                    no_cache: self.no_cache,
                    bounds: BoundsFlags::from_environment()?,
                    ..BuildRequest::default()
                };
                surroundings::apply(&mut request);
                let exporting = AtomicUsize::new(0);
                let show = |event| self.show(&app.name, event, &exporting);
                berth_build::build(&self.store, self, &request, &show).await?;
                Ok(name)
            }
        }
    }

    /// Makes sure that an image from elsewhere is in the store.
    async fn base(&self, container: &str, reference: &str) -> Result<(), Report> {
        let progress = |message: String| {
            let container = container.to_owned();
            self.screen.show(&DevEvent::Build {
                container,
                message,
                output: true,
            });
        };
        let wanted_by = format!(" of container `{container}`");
        base::provide(&self.store, reference, &wanted_by, &progress).await
    }

    /// Shows an event; `exporting` remembers the step that says what the image is called.
    fn show(&self, container: &str, event: BuildEvent, exporting: &AtomicUsize) {
        let (message, output) = match event {
            BuildEvent::Started { step, name } if name == EXPORT_STEP => {
                exporting.store(step, Ordering::Relaxed);
                return;
            }
            BuildEvent::Started { name, .. } => (name, false),
            BuildEvent::Output { step, .. } if step == exporting.load(Ordering::Relaxed) => return,
            BuildEvent::Output { line, .. } => (line, true),
            BuildEvent::Finished { .. } => return,
            BuildEvent::Warning {
                rule,
                message,
                line,
            } => (crate::build::progress::warning(rule, &message, line), false),
        };
        self.screen.show(&DevEvent::Build {
            container: container.to_owned(),
            message,
            output,
        });
    }
}

impl BuildHost for Images {
    fn zygote(&self) -> HostFuture<'_, Zygote> {
        Box::pin(async { Ok(self.zygote.clone()) })
    }

    fn provide<'a>(
        &'a self,
        reference: &'a str,
        progress: &'a (dyn Fn(String) + Send + Sync),
    ) -> HostFuture<'a, ()> {
        Box::pin(host::provide(&self.store, reference, progress))
    }
}

/// The name of an image that `berth dev` builds: the same for every build of the same project, so
/// that a rebuild replaces it, and different for different projects.
fn dev_image_name(root: &Path, container: &str, tag: &str) -> String {
    let project = uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_URL,
        root.as_os_str().as_encoded_bytes(),
    );
    let repository: String = container
        .chars()
        .map(|character| match character {
            'A'..='Z' => character.to_ascii_lowercase(),
            'a'..='z' | '0'..='9' | '-' => character,
            _ => '-',
        })
        .collect();
    let short = &project.simple().to_string()[..8];
    format!("berth-dev/{}-{short}:{tag}", repository.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_of_the_same_name_do_not_share_images() {
        let one = dev_image_name(Path::new("/a"), "My App", "latest");
        assert_eq!(one, dev_image_name(Path::new("/a"), "My App", "latest"));
        assert_ne!(one, dev_image_name(Path::new("/b"), "My App", "latest"));
        assert!(
            one.starts_with("berth-dev/my-app-") && one.ends_with(":latest"),
            "{one}"
        );
    }
}
