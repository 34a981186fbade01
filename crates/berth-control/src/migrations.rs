//! Durable Object migrations: which classes a Worker has, and under which key their objects live.
//!
//! A class's objects are found by its key, which stays what it was when the class is renamed. A step
//! that would leave objects without a class, or a class without the objects it should have, is
//! refused; only `deleted_classes` gives objects up.
//!
//! Rules (Cloudflare's documentation, "Durable Objects migrations"): `new_classes` and
//! `new_sqlite_classes` make a class that was not there; `renamed_classes` and `deleted_classes` need
//! one that is, `transferred_classes` one of another Worker, which loses it; whether a class has SQLite never changes; steps are applied in their order, each tag
//! once.

use std::collections::BTreeMap;

use berth_error::Hint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Durable Object class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Names its objects, for ever.
    pub namespace_id: String,
    /// Under which workerd keeps its objects.
    pub key: String,
    /// Its storage is SQLite, as containers need.
    pub sqlite: bool,
    /// Id of the Worker whose it was, as long as its objects are kept there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// It was another Worker's, and so was its container application, which has a name of there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transferred: bool,
}

/// Classes by name.
pub type Classes = BTreeMap<String, Class>;

/// `migrations` of the metadata that wrangler uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrations {
    /// The tag up to which they have been applied; absent for the first ones.
    #[serde(default)]
    pub old_tag: Option<String>,
    /// The tag of the last of them.
    #[serde(default)]
    pub new_tag: Option<String>,
    /// In their order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One migration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Classes with the old storage.
    pub new_classes: Vec<String>,
    /// Classes with SQLite.
    pub new_sqlite_classes: Vec<String>,
    /// Classes that have another name now.
    pub renamed_classes: Vec<Renamed>,
    /// Classes whose objects are given up.
    pub deleted_classes: Vec<String>,
    /// Classes that another Worker gives up.
    pub transferred_classes: Vec<Transferred>,
}

/// A class with another name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    /// Before.
    pub from: String,
    /// Now.
    pub to: String,
}

/// A class that was another Worker's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transferred {
    /// Its name there.
    pub from: String,
    /// The other Worker.
    pub from_script: String,
    /// Its name here.
    pub to: String,
}

/// Why a migration is refused. Nothing was changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MigrationError {
    /// It was made from another state than the Worker is in.
    #[error("the migrations begin at tag `{expected}`, but `{found}` was applied last")]
    Tag {
        /// `old_tag` as uploaded.
        expected: String,
        /// The Worker's.
        found: String,
    },
    /// It makes what there is.
    #[error("the Durable Object class `{0}` exists already")]
    Exists(String),
    /// It changes what there is not.
    #[error("there is no Durable Object class `{0}` to {1}")]
    Missing(String, &'static str),
    /// The other Worker has no such class.
    #[error("the Worker `{script}` has no Durable Object class `{class}` to transfer")]
    NotThere {
        /// The other Worker.
        script: String,
        /// What it lacks.
        class: String,
    },
    /// The other Worker would run without its class.
    #[error(
        "the Worker `{script}` uses the Durable Object class `{class}` itself: its binding `{binding}`"
    )]
    StillBound {
        /// The other Worker.
        script: String,
        /// Its class.
        class: String,
        /// Its live version's binding.
        binding: String,
    },
    /// The class and its objects have not arrived where they were transferred to last.
    #[error(
        "the objects of the Durable Object class `{class}` are on their way to the Worker `{script}`"
    )]
    OnTheWay {
        /// The Worker that gets them.
        script: String,
        /// Its name there.
        class: String,
    },
    /// A version that is not live at once.
    #[error(
        "the Durable Object class `{0}` can be transferred only by a deployment that is live at once"
    )]
    TransferLater(String),
    /// A binding to a class that no migration has made.
    #[error(
        "the binding `{binding}` is for the Durable Object class `{class}`, which no migration has made"
    )]
    Unmade {
        /// The binding's name.
        binding: String,
        /// Its class.
        class: String,
    },
}

impl Hint for MigrationError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Tag { .. } => {
                "somebody else has deployed: take their `migrations` into the configuration"
                    .to_owned()
            }
            Self::Exists(class) => {
                format!("leave `{class}` out of `new_classes` and `new_sqlite_classes`")
            }
            Self::Missing(class, _) => {
                format!("the classes are looked up by name: check `{class}`")
            }
            Self::NotThere { .. } => {
                "`from_script` is the Worker that has the class, `from` its name there".to_owned()
            }
            Self::StillBound {
                script, binding, ..
            } => format!("deploy `{script}` without the binding `{binding}` first"),
            Self::OnTheWay { script, .. } => {
                format!("they arrive when `{script}` runs: `berth status` says why it does not")
            }
            Self::TransferLater(_) => {
                "deploy the migration by itself, without `rollout: \"atomic\"`".to_owned()
            }
            Self::Unmade { class, .. } => {
                format!("add a migration with `new_sqlite_classes: [\"{class}\"]`")
            }
        })
    }
}

/// What migrations make of a Worker's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// All classes.
    pub classes: Classes,
    /// The last tag.
    pub tag: Option<String>,
    /// Those whose objects are given up.
    pub deleted: Vec<Class>,
    /// Those that other Workers lose.
    pub taken: Vec<Transferred>,
}

/// Applies migrations. `make` gives a new class its identity, `take` finds one of another Worker.
///
/// # Errors
/// A step that does not fit; nothing of the migrations is to happen then.
pub fn apply(
    classes: &Classes,
    tag: Option<&str>,
    migrations: &Migrations,
    mut make: impl FnMut(&str, bool) -> Class,
    mut take: impl FnMut(&Transferred) -> Result<Class, MigrationError>,
) -> Result<Migrated, MigrationError> {
    if let Some(old) = &migrations.old_tag
        && tag != Some(old)
    {
        return Err(MigrationError::Tag {
            expected: old.clone(),
            found: tag.unwrap_or("none").to_owned(),
        });
    }
    let mut classes = classes.clone();
    let mut deleted = Vec::new();
    let mut taken: Vec<Transferred> = Vec::new();
    for step in &migrations.steps {
        let new = step.new_classes.iter().map(|name| (name, false));
        for (name, sqlite) in new.chain(step.new_sqlite_classes.iter().map(|name| (name, true))) {
            if classes.contains_key(name) {
                return Err(MigrationError::Exists(name.clone()));
            }
            classes.insert(name.clone(), make(name, sqlite));
        }
        for Renamed { from, to } in &step.renamed_classes {
            let class = classes.remove(from);
            let class = class.ok_or_else(|| MigrationError::Missing(from.clone(), "rename"))?;
            if classes.insert(to.clone(), class).is_some() {
                return Err(MigrationError::Exists(to.clone()));
            }
        }
        for name in &step.deleted_classes {
            let class = classes.remove(name);
            let class = class.ok_or_else(|| MigrationError::Missing(name.clone(), "delete"))?;
            deleted.push(class);
        }
        for transferred in &step.transferred_classes {
            let Transferred {
                from,
                from_script,
                to,
            } = transferred;
            let mut before = taken.iter();
            let gone = before.any(|one| (&one.from, &one.from_script) == (from, from_script));
            if gone {
                return Err(MigrationError::NotThere {
                    script: from_script.clone(),
                    class: from.clone(),
                });
            }
            let class = take(transferred)?;
            if classes.insert(to.clone(), class).is_some() {
                return Err(MigrationError::Exists(to.clone()));
            }
            taken.push(transferred.clone());
        }
    }
    let tag = migrations
        .new_tag
        .clone()
        .or_else(|| tag.map(str::to_owned));
    Ok(Migrated {
        classes,
        tag,
        deleted,
        taken,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(name: &str, sqlite: bool) -> Class {
        Class {
            namespace_id: format!("id-{name}"),
            key: format!("key-{name}"),
            sqlite,
            kept_by: None,
            transferred: false,
        }
    }

    fn nowhere(transferred: &Transferred) -> Result<Class, MigrationError> {
        Err(MigrationError::NotThere {
            script: transferred.from_script.clone(),
            class: transferred.from.clone(),
        })
    }

    fn step(json: serde_json::Value) -> Step {
        serde_json::from_value(json).unwrap()
    }

    fn run(classes: &Classes, steps: Vec<Step>) -> Result<Migrated, MigrationError> {
        let migrations = Migrations {
            old_tag: None,
            new_tag: Some("v9".to_owned()),
            steps,
        };
        apply(classes, None, &migrations, class, nowhere)
    }

    #[test]
    fn a_renamed_class_keeps_its_objects() {
        let first = run(
            &Classes::new(),
            vec![
                step(serde_json::json!({"new_sqlite_classes": ["A"], "new_classes": ["B"]})),
                step(serde_json::json!({"renamed_classes": [{"from": "A", "to": "C"}]})),
                step(serde_json::json!({"new_sqlite_classes": ["A"], "deleted_classes": ["B"]})),
            ],
        )
        .unwrap();
        let names: Vec<_> = first.classes.keys().collect();
        assert_eq!(names, ["A", "C"]);
        assert_eq!(first.classes["C"].key, "key-A");
        assert!(first.classes["C"].sqlite);
        assert_eq!(first.deleted, [class("B", false)]);
        assert_eq!(first.tag.as_deref(), Some("v9"));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let classes = Classes::from([("A".to_owned(), class("A", true))]);
        for (json, expected) in [
            (
                serde_json::json!({"new_classes": ["A"]}),
                MigrationError::Exists("A".into()),
            ),
            (
                serde_json::json!({"deleted_classes": ["X"]}),
                MigrationError::Missing("X".into(), "delete"),
            ),
            (
                serde_json::json!({"renamed_classes": [{"from": "X", "to": "Y"}]}),
                MigrationError::Missing("X".into(), "rename"),
            ),
            (
                serde_json::json!({"transferred_classes": [{"from": "A", "from_script": "w", "to": "B"}]}),
                MigrationError::NotThere {
                    script: "w".into(),
                    class: "A".into(),
                },
            ),
        ] {
            assert_eq!(run(&classes, vec![step(json)]).unwrap_err(), expected);
        }
        let two = vec![
            step(serde_json::json!({"new_classes": ["B"]})),
            step(serde_json::json!({"renamed_classes": [{"from": "A", "to": "B"}]})),
        ];
        assert_eq!(
            run(&classes, two).unwrap_err(),
            MigrationError::Exists("B".into())
        );
    }

    #[test]
    fn migrations_begin_where_the_last_ended() {
        let migrations = Migrations {
            old_tag: Some("v1".to_owned()),
            new_tag: Some("v2".to_owned()),
            steps: Vec::new(),
        };
        let apply = |tag| apply(&Classes::new(), tag, &migrations, class, nowhere);
        assert_eq!(apply(Some("v1")).unwrap().tag.as_deref(), Some("v2"));
        let error = apply(Some("v3")).unwrap_err();
        assert!(error.to_string().contains("`v3`"), "{error}");
        assert!(apply(None).is_err());
    }

    proptest! {
        /// Whatever the steps, no key is lost or given twice: it is a class's, or was deleted.
        #[test]
        fn no_objects_are_lost(steps in prop::collection::vec((0..3_u8, 0..3_usize, 0..3_usize), 0..20)) {
            let names = ["A", "B", "C"];
            let mut classes = Classes::new();
            let mut made = 0;
            let mut gone = Vec::new();
            for (kind, one, other) in steps {
                let step = match kind {
                    0 => Step { new_sqlite_classes: vec![names[one].into()], ..Step::default() },
                    1 => Step {
                        renamed_classes: vec![Renamed { from: names[one].into(), to: names[other].into() }],
                        ..Step::default()
                    },
                    _ => Step { deleted_classes: vec![names[one].into()], ..Step::default() },
                };
                let migrations = Migrations { steps: vec![step], ..Migrations::default() };
                let mut count = made;
                let make = |_: &str, sqlite| {
                    count += 1;
                    class(&count.to_string(), sqlite)
                };
                let migrated = apply(&classes, None, &migrations, make, nowhere);
                if let Ok(migrated) = migrated {
                    classes = migrated.classes;
                    gone.extend(migrated.deleted);
                    made = count;
                }
                let mut keys: Vec<_> = classes.values().chain(&gone).map(|class| class.key.clone()).collect();
                keys.sort();
                keys.dedup();
                prop_assert_eq!(keys.len(), made);
                prop_assert_eq!(classes.len() + gone.len(), made);
            }
        }
    }
}
