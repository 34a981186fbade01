//! Whose machine this is: one account for each data directory.

use serde::{Deserialize, Serialize};

/// The kind of record.
pub(crate) const KIND: &str = "account";
/// The only one there is.
pub(crate) const KEY: &str = "own";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// 32 lower-case hexadecimal digits: wrangler takes only those for an account in an image's name.
    pub id: String,
    /// For people.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            name: "Berth".to_owned(),
            created: crate::clock::now(),
        }
    }
}
