//! Whether what a Worker binds is there.

use super::Kind;
use crate::ControlError;
use crate::control::Control;
use crate::worker::{Binding, BindingKind};

impl Control {
    /// Checks that every binding of a Worker leads somewhere.
    ///
    /// # Errors
    /// [`ControlError::BindingTarget`] of the first that does not.
    pub(in crate::control) fn check_targets(
        &self,
        worker: &str,
        bindings: &[Binding],
    ) -> Result<(), ControlError> {
        for binding in bindings {
            let problem = match self.check_target(worker, &binding.kind) {
                Ok(None) => continue,
                Ok(Some(problem)) => problem,
                Err(error @ (ControlError::NoResource { .. } | ControlError::NoWorker(_))) => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            return Err(ControlError::BindingTarget {
                binding: binding.name.clone(),
                problem,
            });
        }
        Ok(())
    }

    fn check_target(
        &self,
        worker: &str,
        kind: &BindingKind,
    ) -> Result<Option<String>, ControlError> {
        match kind {
            BindingKind::PlainText { .. }
            | BindingKind::Json { .. }
            | BindingKind::DurableObjectNamespace { .. }
            | BindingKind::R2Bucket { .. }
            | BindingKind::Assets {}
            | BindingKind::VersionMetadata {} => {}
            BindingKind::KvNamespace { namespace_id } => {
                self.kv_namespace(namespace_id)?;
            }
            BindingKind::D1 { id } => {
                self.resource::<super::Database>(id)?;
            }
            BindingKind::Queue { queue_name, .. } => {
                let mut queues = self.queues()?.into_iter();
                if !queues.any(|queue| queue.name == *queue_name) {
                    return Ok(Some(format!("there is no {} `{queue_name}`", Kind::Queue)));
                }
            }
            BindingKind::Workflow {
                script_name,
                workflow_name,
                ..
            } => {
                if script_name
                    .as_deref()
                    .is_some_and(|script| script != worker)
                {
                    let text = "it is for a Workflow of another Worker, which is not supported";
                    return Ok(Some(text.to_owned()));
                }
                let owner = self.workflow(workflow_name).ok();
                if let Some(owner) = owner.filter(|owner| owner.script_name != worker) {
                    let owner = owner.script_name;
                    let text = format!("the Workflow `{workflow_name}` is the Worker `{owner}`'s");
                    return Ok(Some(text));
                }
            }
            BindingKind::Service {
                entrypoint: Some(entrypoint),
                ..
            } if entrypoint.starts_with("berth:") => {
                return Ok(Some(format!("`{entrypoint}` is no entrypoint of a Worker")));
            }
            BindingKind::Service { service, .. } => {
                if service != worker {
                    let live = self.worker(service)?.live().is_some();
                    return Ok((!live).then(|| format!("nothing of `{service}` is deployed")));
                }
            }
            BindingKind::SecretsStoreSecret {
                store_id,
                secret_name,
            } => {
                let mut secrets = self.store_secrets(store_id)?.into_iter();
                if !secrets.any(|secret| secret.name == *secret_name) {
                    let text =
                        format!("there is no secret `{secret_name}` in the store `{store_id}`");
                    return Ok(Some(text));
                }
            }
        }
        Ok(None)
    }
}
