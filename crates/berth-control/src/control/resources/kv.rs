//! KV namespaces.

use serde::{Deserialize, Serialize};

use super::{Kind, Resource, check_title, hex_id};
use crate::control::Control;
use crate::worker::BindingKind;
use crate::{ControlError, clock};

/// A KV namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub title: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl Resource for Namespace {
    const KIND: Kind = Kind::Kv;

    fn key(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.title
    }
}

impl Control {
    /// Every KV namespace, by title.
    ///
    /// # Errors
    /// The records.
    pub fn kv_namespaces(&self) -> Result<Vec<Namespace>, ControlError> {
        let mut all: Vec<Namespace> = self.resources()?;
        all.sort_by(|one, other| one.title.cmp(&other.title));
        Ok(all)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn kv_namespace(&self, id: &str) -> Result<Namespace, ControlError> {
        self.resource(id)
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`ControlError::ResourceTaken`], or the title cannot be.
    pub fn create_kv_namespace(&self, title: &str) -> Result<Namespace, ControlError> {
        check_title("title", title)?;
        let _one = self.one_at_a_time();
        self.check_free::<Namespace>(title, "")?;
        self.create_resource(Namespace {
            id: hex_id(),
            title: title.to_owned(),
            created: clock::now(),
        })
    }

    /// Gives one another title.
    ///
    /// # Errors
    /// As [`Control::create_kv_namespace`]; [`ControlError::NoResource`].
    pub fn rename_kv_namespace(&self, id: &str, title: &str) -> Result<Namespace, ControlError> {
        check_title("title", title)?;
        let _one = self.one_at_a_time();
        self.check_free::<Namespace>(title, id)?;
        let (namespace, ()) = self.update_resource(id, |namespace: &mut Namespace| {
            title.clone_into(&mut namespace.title);
            Ok(())
        })?;
        Ok(namespace)
    }

    /// Forgets one; what it holds is the data plane's to delete.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], [`ControlError::ResourceUsed`].
    pub fn delete_kv_namespace(&self, id: &str) -> Result<Namespace, ControlError> {
        let _one = self.one_at_a_time();
        let title = self.kv_namespace(id)?.title;
        self.check_unused(Kind::Kv, &title, |_, kind| {
            matches!(kind, BindingKind::KvNamespace { namespace_id } if namespace_id == id)
        })?;
        self.delete_resource(id)
    }
}
