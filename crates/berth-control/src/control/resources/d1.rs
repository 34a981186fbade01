//! D1 databases.

use serde::{Deserialize, Serialize};

use super::{Kind, Resource, check_word, uuid};
use crate::control::Control;
use crate::worker::BindingKind;
use crate::{ControlError, clock};

/// Characters of a database's name.
const LONGEST_NAME: usize = 64;

/// A D1 database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Database {
    /// A UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl Resource for Database {
    const KIND: Kind = Kind::D1;

    fn key(&self) -> &str {
        &self.uuid
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Control {
    /// Every D1 database, by name.
    ///
    /// # Errors
    /// The records.
    pub fn databases(&self) -> Result<Vec<Database>, ControlError> {
        let mut all: Vec<Database> = self.resources()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The one of this id or name.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn database(&self, id_or_name: &str) -> Result<Database, ControlError> {
        match self.resource(id_or_name) {
            Err(ControlError::NoResource { kind, name }) => {
                let mut all = self.databases()?.into_iter();
                let found = all.find(|database| database.name == name);
                found.ok_or(ControlError::NoResource { kind, name })
            }
            other => other,
        }
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`ControlError::ResourceTaken`], or the name cannot be.
    pub fn create_database(&self, name: &str) -> Result<Database, ControlError> {
        check_word("name", name, LONGEST_NAME)?;
        let _one = self.one_at_a_time();
        self.check_free::<Database>(name, "")?;
        self.create_resource(Database {
            uuid: uuid(),
            name: name.to_owned(),
            created: clock::now(),
        })
    }

    /// Forgets one; what it holds is the data plane's to delete.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], [`ControlError::ResourceUsed`].
    pub fn delete_database(&self, uuid: &str) -> Result<Database, ControlError> {
        let _one = self.one_at_a_time();
        let database = self.database(uuid)?;
        self.check_unused(
            Kind::D1,
            &database.name,
            |_, kind| matches!(kind, BindingKind::D1 { id } if *id == database.uuid),
        )?;
        self.delete_resource(&database.uuid)
    }
}
