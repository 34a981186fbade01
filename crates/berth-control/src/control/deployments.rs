//! Which version is live.

use std::collections::BTreeMap;

use super::Control;
use crate::ControlError;
use crate::migrations::MigrationError;
use crate::worker::{self, BindingKind, Deployment, Worker};

impl Control {
    /// Makes a version live, and has containers run with what they ran with when it was live before.
    /// `force`: although its secrets are not what they are now.
    ///
    /// # Errors
    /// No such Worker or version; [`ControlError::SecretsChanged`]; a Durable Object class that the
    /// version needs has been deleted since.
    pub fn deploy(
        &self,
        worker: &str,
        version: &str,
        author: &str,
        annotations: &BTreeMap<String, String>,
        force: bool,
    ) -> Result<Deployment, ControlError> {
        self.remember_configurations(worker)?;
        let configurations = self.configurations_of(&self.worker(worker)?, version)?;
        let deployment = self.update(worker, |worker| {
            let target = worker
                .version(version)
                .ok_or_else(|| ControlError::NoVersion {
                    worker: worker.name.clone(),
                    version: version.to_owned(),
                })?;
            for binding in &target.bindings {
                if let BindingKind::DurableObjectNamespace { class_name } = &binding.kind
                    && !worker.classes.contains_key(class_name)
                {
                    return Err(MigrationError::Unmade {
                        binding: binding.name.clone(),
                        class: class_name.clone(),
                    }
                    .into());
                }
            }
            self.check_targets(&worker.name, &target.bindings)?;
            if !force
                && let Some(live) = worker.live()
                && target.number < live.number
            {
                let changed = self.changed_secrets(&worker.name, &live.secrets, &target.secrets)?;
                if !changed.is_empty() {
                    return Err(ControlError::SecretsChanged(changed));
                }
            }
            let atomic = target.atomic || worker.live().is_some_and(|live| live.atomic);
            let mut deployment = worker.deploy(version, author, annotations.clone());
            if let Some(first) = worker.deployments.first_mut() {
                first.configurations.clone_from(&configurations);
                first.atomic = atomic;
                deployment = first.clone();
            }
            worker.forget(&self.retention());
            Ok(deployment)
        })?;
        self.obey_deployments()?;
        Ok(deployment)
    }
}

impl Worker {
    /// What waits to be live waits no more: it was made for what was live before.
    pub(super) fn deploy(
        &mut self,
        version: &str,
        author: &str,
        annotations: BTreeMap<String, String>,
    ) -> Deployment {
        let deployment = Deployment {
            id: worker::version_id(),
            version_id: version.to_owned(),
            created: crate::clock::now(),
            author: author.to_owned(),
            annotations,
            configurations: BTreeMap::new(),
            made: Vec::new(),
            atomic: false,
            back_to: None,
        };
        self.pending = None;
        self.deployments.insert(0, deployment.clone());
        deployment
    }
}
