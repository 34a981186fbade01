//! `migrations`, applied in order.

use super::classes::{Class, Classes, Gone};
use super::cx::Cx;
use super::field::{Fields, Spanned};
use super::nearest::nearest;
use super::root::Root;

/// The classes after the last migration.
///
/// A class that is transferred from another Worker is taken to be SQLite-backed: its storage is
/// not said here, and nothing of the other Worker is on this machine.
pub(crate) fn migrations(root: &Root<'_>) -> Classes {
    let mut state = State {
        cx: root.cx,
        classes: Classes::default(),
        tags: Vec::new(),
    };
    if let Some(field) = root.get("migrations") {
        for fields in field.objects() {
            state.apply(fields);
        }
    }
    state.classes.next_tag = state.next_tag();
    state.classes
}

struct State<'a> {
    cx: &'a Cx<'a>,
    classes: Classes,
    tags: Vec<String>,
}

impl State<'_> {
    fn apply(&mut self, fields: Fields<'_>) {
        let tag = self.tag(&fields);
        for (key, sqlite) in [("new_sqlite_classes", true), ("new_classes", false)] {
            for name in fields.get(key).map(|it| it.strings()).unwrap_or_default() {
                self.create(name, sqlite);
            }
        }
        for (key, transferred) in [("renamed_classes", false), ("transferred_classes", true)] {
            let moves = fields.get(key).map(|it| it.objects()).unwrap_or_default();
            for entry in moves {
                let from = entry.require_text("from");
                if transferred {
                    entry.require_text("from_script");
                }
                let to = entry.require_text("to");
                entry.finish();
                match (from, to) {
                    (Some(_), Some(to)) if transferred => self.create(to, true),
                    (Some(from), Some(to)) => self.rename(&from, to),
                    _ => {}
                }
            }
        }
        let deleted = fields.get("deleted_classes");
        for name in deleted.map(|it| it.strings()).unwrap_or_default() {
            if self.take(&name, "deleted").is_some() {
                self.classes
                    .gone
                    .insert(name.value, Gone::Deleted(format!("migration `{tag}`")));
            }
        }
        fields.finish();
    }

    fn tag(&mut self, fields: &Fields<'_>) -> String {
        let Some(tag) = fields.require_text("tag") else {
            return String::new();
        };
        if self.tags.contains(&tag.value) {
            self.cx.error(
                &tag.span,
                format!("two migrations have the tag `{}`", tag.value),
                format!("give this one a new tag, for example `{}`", self.next_tag()),
            );
        }
        self.tags.push(tag.value.clone());
        tag.value
    }

    /// `v<n>` with the first `n` that is free.
    fn next_tag(&self) -> String {
        (self.tags.len() + 1..)
            .map(|number| format!("v{number}"))
            .find(|tag| !self.tags.contains(tag))
            .unwrap_or_default()
    }

    fn create(&mut self, name: Spanned<String>, sqlite: bool) {
        let class = Class {
            sqlite,
            span: name.span.clone(),
            container: None,
        };
        self.insert(name, class);
    }

    fn rename(&mut self, from: &Spanned<String>, to: Spanned<String>) {
        if let Some(class) = self.take(from, "renamed") {
            let gone = Gone::Renamed(to.value.clone());
            self.classes.gone.insert(from.value.clone(), gone);
            self.insert(to, class);
        }
    }

    fn insert(&mut self, name: Spanned<String>, class: Class) {
        if let Some(first) = self.classes.live.get(&name.value) {
            let line = self.cx.locate(&first.span).line;
            self.cx.error(
                &name.span,
                format!("the class `{}` exists already", name.value),
                format!("line {line} creates it; remove it here"),
            );
            return;
        }
        self.classes.gone.shift_remove(&name.value);
        self.classes.live.insert(name.value, class);
    }

    /// Removes a class that must exist.
    fn take(&mut self, name: &Spanned<String>, verb: &str) -> Option<Class> {
        let class = self.classes.live.shift_remove(&name.value);
        if class.is_none() {
            let known = self.classes.live.keys().map(String::as_str);
            let hint = match nearest(&name.value, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "an earlier migration must create it".to_owned(),
            };
            self.cx.error(
                &name.span,
                format!(
                    "the class `{}` cannot be {verb}: it does not exist",
                    name.value
                ),
                hint,
            );
        }
        class
    }
}
