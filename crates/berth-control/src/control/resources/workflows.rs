//! Workflows: which class of which Worker runs the instances of a name. The instances themselves are
//! kept with the Worker and go with it.

use serde::{Deserialize, Serialize};

use super::{Kind, Resource, check_word, missing, uuid};
use crate::control::Control;
use crate::worker::BindingKind;
use crate::{ControlError, clock};

/// Characters of a Workflow's name.
const LONGEST_NAME: usize = 64;

/// A Workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workflow {
    /// A UUID.
    pub id: String,
    /// Its name; the record's key, too.
    pub name: String,
    /// The Worker that has the class.
    pub script_name: String,
    /// The class.
    pub class_name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
}

impl Resource for Workflow {
    const KIND: Kind = Kind::Workflow;

    fn key(&self) -> &str {
        &self.name
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Control {
    /// Every Workflow, by name.
    ///
    /// # Errors
    /// The records.
    pub fn workflows(&self) -> Result<Vec<Workflow>, ControlError> {
        self.resources()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn workflow(&self, name: &str) -> Result<Workflow, ControlError> {
        self.resource(name)
    }

    /// Says which class runs a Workflow. The Worker's live version must bind it.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`]; [`ControlError::NoResource`] if the Worker has no such Workflow;
    /// [`ControlError::ResourceTaken`] if it is another Worker's.
    pub fn set_workflow(
        &self,
        name: &str,
        script_name: &str,
        class_name: &str,
    ) -> Result<Workflow, ControlError> {
        check_word("name", name, LONGEST_NAME)?;
        let worker = self.worker(script_name)?;
        let bindings = worker.live().map(|version| version.bindings.as_slice());
        let bound = bindings.unwrap_or_default().iter().any(|binding| {
            matches!(&binding.kind, BindingKind::Workflow { workflow_name, class_name: class, .. }
                if workflow_name == name && class == class_name)
        });
        if !bound {
            return Err(missing(Kind::Workflow, name));
        }
        let _one = self.one_at_a_time();
        let now = clock::now();
        match self.workflow(name) {
            Ok(present) if present.script_name != script_name => Err(ControlError::ResourceTaken {
                kind: Kind::Workflow,
                name: name.to_owned(),
            }),
            Ok(_) => {
                let (workflow, ()) = self.update_resource(name, |workflow: &mut Workflow| {
                    class_name.clone_into(&mut workflow.class_name);
                    workflow.modified.clone_from(&now);
                    Ok(())
                })?;
                Ok(workflow)
            }
            Err(ControlError::NoResource { .. }) => self.create_resource(Workflow {
                id: uuid(),
                name: name.to_owned(),
                script_name: script_name.to_owned(),
                class_name: class_name.to_owned(),
                created: now.clone(),
                modified: now,
            }),
            Err(error) => Err(error),
        }
    }

    /// Forgets a Workflow.
    ///
    /// # Errors
    /// [`ControlError::NoResource`]; [`ControlError::ResourceUsed`] while a live version has it.
    pub fn delete_workflow(&self, name: &str) -> Result<Workflow, ControlError> {
        let _one = self.one_at_a_time();
        self.check_unused(Kind::Workflow, name, |_, kind| {
            matches!(kind, BindingKind::Workflow { workflow_name, .. } if workflow_name == name)
        })?;
        self.delete_resource(name)
    }

    /// Forgets those of a deleted Worker.
    pub(in crate::control) fn forget_workflows(&self, worker: &str) -> Result<(), ControlError> {
        for workflow in self.workflows()? {
            if workflow.script_name == worker {
                self.delete_resource::<Workflow>(&workflow.name)?;
            }
        }
        Ok(())
    }
}
