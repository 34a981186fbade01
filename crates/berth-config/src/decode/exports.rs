//! `exports`: Durable Object classes declared by state instead of by history.

use super::classes::{Class, Classes, Gone};
use super::cx::Cx;
use super::field::{Field, Fields, Spanned};
use super::migrations::migrations;
use super::root::Root;
use crate::value::Entry;

const STATES: &[&str] = &[
    "created",
    "deleted",
    "renamed",
    "transferred",
    "expecting-transfer",
];

/// The classes of `exports` if it declares any, else those of `migrations`; both is a mistake.
pub(crate) fn classes(root: &Root<'_>) -> Classes {
    let mut classes = Classes::default();
    if let Some(field) = root.get("exports") {
        for (entry, member) in field.members() {
            if let Some(fields) = member.fields() {
                export(root.cx, entry, fields, &mut classes);
            }
        }
        check_renames(root, &field, &classes);
    }
    if !classes.from_exports {
        return migrations(root);
    }
    if let Some(field) = root.get("migrations")
        && !field.value.is_empty()
    {
        root.cx.error(
            &field.key_span,
            "`migrations` and `exports` both declare Durable Object classes",
            "keep one of them",
        );
    }
    classes
}

fn export(cx: &Cx<'_>, entry: &Entry, fields: Fields<'_>, classes: &mut Classes) {
    let kind = fields
        .require("type")
        .and_then(|field| field.choice(&["durable-object", "worker"]));
    match kind.as_ref().map(|kind| kind.value.as_str()) {
        Some("durable-object") => {}
        Some(_) => {
            fields.ignore(&["cache"]);
            fields.finish();
            return;
        }
        None => return,
    }
    classes.from_exports = true;
    let state = match fields.get("state") {
        None => Some("created".to_owned()),
        Some(field) => field.choice(STATES).map(|state| state.value),
    };
    let name = entry.key.clone();
    match state.as_deref() {
        Some("created") => live(cx, entry, &fields, classes),
        Some("expecting-transfer") => {
            fields.require_text("transfer_from");
            live(cx, entry, &fields, classes);
        }
        Some("deleted") => {
            classes
                .gone
                .insert(name.clone(), Gone::Deleted(format!("`exports.{name}`")));
        }
        Some("renamed") => {
            if let Some(to) = fields.require_text("renamed_to") {
                classes.gone.insert(name, Gone::Renamed(to.value));
            }
        }
        Some(_) => {
            if let Some(to) = fields.require_text("transferred_to") {
                classes.gone.insert(name, Gone::Transferred(to.value));
            }
        }
        None => fields.ignore(&[
            "storage",
            "container",
            "renamed_to",
            "transferred_to",
            "transfer_from",
        ]),
    }
    fields.finish();
}

fn live(cx: &Cx<'_>, entry: &Entry, fields: &Fields<'_>, classes: &mut Classes) {
    let storage = fields
        .require("storage")
        .and_then(|field| field.choice(&["sqlite", "legacy-kv"]));
    let container = fields.text("container");
    if container.is_some()
        && let Some(storage) = &storage
        && storage.value != "sqlite"
    {
        cx.error(
            &storage.span,
            format!("container class `{}` has no SQLite storage", entry.key),
            "containers need the storage `sqlite`",
        );
    }
    let class = Class {
        // A missing storage, or a wrong one under a container, was reported just now.
        sqlite: container.is_some() || storage.is_none_or(|storage| storage.value == "sqlite"),
        span: entry.key_span.clone(),
        container,
    };
    classes.live.insert(entry.key.clone(), class);
}

fn check_renames(root: &Root<'_>, field: &Field<'_>, classes: &Classes) {
    for entry in field.value.entries() {
        let Some(Gone::Renamed(to)) = classes.gone.get(&entry.key) else {
            continue;
        };
        if !classes.live.contains_key(to) {
            let span = entry
                .value
                .entry("renamed_to")
                .map_or(&entry.key_span, |to| &to.value.span);
            root.cx.error(
                span,
                format!(
                    "`exports.{}` is renamed to a class that is not there: `{to}`",
                    entry.key
                ),
                format!(
                    "add `exports.{to}` with the storage that `{}` had",
                    entry.key
                ),
            );
        }
    }
}

/// The class which names this container in `exports`, with the place of that name.
pub(crate) fn class_of_container(
    classes: &Classes,
    container: &str,
) -> Option<(String, Spanned<String>)> {
    classes.live.iter().find_map(|(name, class)| {
        let link = class.container.as_ref()?;
        (link.value == container).then(|| (name.clone(), link.clone()))
    })
}
