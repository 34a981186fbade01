//! The container images of a project: built from Dockerfiles, or found in the store.

use std::collections::BTreeMap;
use std::path::Path;

use berth_build::{BuildEvent, BuildRequest};
use berth_config::{ContainerApp, ImageSource, Project};
use berth_error::Report;
use berth_image::ImageStore;
use berth_jail::Zygote;
use berth_workerd::ClassImages;
use futures_util::future::try_join_all;
use indexmap::IndexMap;

use super::event::DevEvent;
use super::screen::Screen;
use crate::base;

/// Builds the images of one project. A later build takes what has not changed from the cache.
#[derive(Debug)]
pub(crate) struct Images {
    store: ImageStore,
    zygote: Zygote,
    screen: Screen,
    no_cache: bool,
}

impl Images {
    /// A builder over the store.
    pub(crate) fn new(store: ImageStore, zygote: Zygote, screen: Screen, no_cache: bool) -> Self {
        Self {
            store,
            zygote,
            screen,
            no_cache,
        }
    }

    /// Makes sure that every image of the project is in the store; the references, by class.
    pub(crate) async fn prepare(
        &self,
        project: &Project,
    ) -> Result<BTreeMap<String, ClassImages>, Report> {
        let mut images = BTreeMap::new();
        for app in &project.containers {
            let default = match &app.image {
                Some(source) => Some(self.provide(project, app, "latest", source).await?),
                None => None,
            };
            let named = try_join_all(app.images.iter().map(|(name, source)| async move {
                Ok::<_, Report>((
                    name.clone(),
                    self.provide(project, app, name, source).await?,
                ))
            }))
            .await?
            .into_iter()
            .collect::<IndexMap<_, _>>();
            images.insert(app.class_name.clone(), ClassImages { default, named });
        }
        Ok(images)
    }

    /// Builds or finds one image; its reference.
    async fn provide(
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
                for base in berth_build::base_images(dockerfile, args)? {
                    self.base(&app.name, &base).await?;
                }
                let name = dev_image_name(&project.root, &app.name, tag);
                let request = BuildRequest {
                    dockerfile: dockerfile.clone(),
                    context: context.clone(),
                    args: args.clone(),
                    target: None,
                    tags: vec![name.clone()],
                    no_cache: self.no_cache,
                    ca_bundle: base::host_ca_bundle(),
                };
                let show = |event| self.show(&app.name, event);
                berth_build::build(&self.store, &self.zygote, &request, &show).await?;
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

    fn show(&self, container: &str, event: BuildEvent) {
        let (message, output) = match event {
            BuildEvent::StepStarted { step, total, text } => {
                (format!("{step}/{total} {text}"), false)
            }
            BuildEvent::Output { line, .. } => (line, true),
            BuildEvent::StepFinished { .. } => return,
        };
        self.screen.show(&DevEvent::Build {
            container: container.to_owned(),
            message,
            output,
        });
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
