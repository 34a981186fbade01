//! How containers, Durable Object classes and bindings hang together.
//!
//! A container belongs to exactly one class and a class to at most one container; the link is made
//! by the container (`class_name`) or by the class (`exports.<Class>.container`). The class must be
//! SQLite-backed, and reachable: bound, or declared in `exports`. One mistake gives one message, so
//! each check is silent about what an earlier one reported.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::classes::{Classes, Gone};
use super::containers::Draft;
use super::cx::Cx;
use super::durable::ClassBinding;
use super::exports::class_of_container;
use super::field::Spanned;
use super::nearest::nearest;
use super::worker::Names;
use crate::parse::Format;
use crate::{ContainerApp, DurableObjectBinding, DurableObjectClass, Location};

/// What the checks leave.
pub(crate) struct Linked {
    pub(crate) containers: Vec<ContainerApp>,
    pub(crate) durable_objects: Vec<DurableObjectBinding>,
    pub(crate) classes: Vec<DurableObjectClass>,
    /// Where each container's class is named.
    pub(crate) places: BTreeMap<String, Location>,
}

/// Checks, and settles names and classes.
pub(crate) fn link(
    cx: &Cx<'_>,
    names: &Names,
    environment: Option<&str>,
    drafts: Vec<Draft>,
    bindings: &[ClassBinding],
    classes: Classes,
) -> Linked {
    let mut linker = Linker {
        cx,
        classes,
        settled: IndexSet::new(),
        extra: IndexSet::new(),
    };
    let mut containers: Vec<ContainerApp> = Vec::new();
    let mut places = BTreeMap::new();
    let mut owners = Vec::new();
    for draft in drafts {
        let Some((mut app, class)) = linker.class_of(draft, names, environment) else {
            continue;
        };
        if containers.iter().any(|other| other.name == app.name) {
            cx.error_hint(
                &class.span,
                format!("two containers are named `{}`", app.name),
                "give one of them another `name`",
            );
        }
        if containers
            .iter()
            .any(|other| other.class_name == class.value)
        {
            linker.settled.insert(class.value.clone());
            cx.error_hint(
                &class.span,
                format!("the class `{}` has a container already", class.value),
                "a class drives one container: add a class, or remove this container",
            );
        }
        app.class_name.clone_from(&class.value);
        places.insert(class.value.clone(), cx.locate(&class.span));
        containers.push(app);
        owners.push(class);
    }
    linker.check_export_links(&containers);
    for class in &owners {
        linker.check_declared(class);
    }
    linker.check_bindings(bindings, &owners);
    for class in &owners {
        linker.check_bound(class, bindings);
    }
    Linked {
        containers,
        durable_objects: bindings
            .iter()
            .map(|binding| DurableObjectBinding {
                name: binding.name.clone(),
                class_name: binding.class.value.clone(),
            })
            .collect(),
        classes: linker.into_classes(),
        places,
    }
}

struct Linker<'a> {
    cx: &'a Cx<'a>,
    classes: Classes,
    /// Container classes about which there is a message already.
    settled: IndexSet<String>,
    /// Classes that are bound but declared nowhere; workerd runs them without SQLite.
    extra: IndexSet<String>,
}

impl Linker<'_> {
    /// The container's class, from either direction, and its name.
    fn class_of(
        &mut self,
        draft: Draft,
        names: &Names,
        environment: Option<&str>,
    ) -> Option<(ContainerApp, Spanned<String>)> {
        let mut app = draft.app;
        let claim = draft
            .name
            .as_ref()
            .and_then(|name| class_of_container(&self.classes, &name.value));
        let class = match (draft.class, claim) {
            (Some(class), Some((claimant, _))) if class.value != claimant => {
                self.cx.error_hint(
                    &class.span,
                    format!(
                        "this container names the class `{}`, but `exports.{claimant}` claims it",
                        class.value
                    ),
                    "make both agree, or remove `class_name`",
                );
                return None;
            }
            (Some(class), _) => class,
            (None, Some((claimant, link))) => Spanned {
                value: claimant,
                span: link.span,
            },
            (None, None) => {
                let hint = match &draft.name {
                    Some(name) => format!(
                        "set `class_name`, or set `container` to `{}` at the class in `exports`",
                        name.value
                    ),
                    None => "set `class_name` to the class that drives it".to_owned(),
                };
                self.cx.error_hint(
                    &draft.span,
                    format!("`{}` belongs to no Durable Object class", draft.path),
                    hint,
                );
                return None;
            }
        };
        app.name = match draft.name {
            Some(name) => name.value,
            None => default_name(names, &class.value, environment),
        };
        Some((app, class))
    }

    /// `exports.<Class>.container` must lead to a container that leads back.
    fn check_export_links(&mut self, containers: &[ContainerApp]) {
        for (class, declared) in &self.classes.live {
            let Some(link) = &declared.container else {
                continue;
            };
            match containers.iter().find(|app| app.name == link.value) {
                Some(app) if app.class_name == *class => {}
                Some(app) => self.cx.error_hint(
                    &link.span,
                    format!(
                        "the container `{}` belongs to the class `{}`",
                        link.value, app.class_name
                    ),
                    "a container drives one class: make both agree",
                ),
                None => {
                    let known = containers.iter().map(|app| app.name.as_str());
                    let hint = match nearest(&link.value, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "add it to `containers`, with this `name`".to_owned(),
                    };
                    self.cx.error_hint(
                        &link.span,
                        format!("there is no container `{}`", link.value),
                        hint,
                    );
                }
            }
        }
    }

    /// The class of a container must be declared, and with SQLite.
    fn check_declared(&mut self, class: &Spanned<String>) {
        let name = &class.value;
        if self.settled.contains(name) {
            return;
        }
        match self.classes.live.get(name) {
            Some(declared) if declared.sqlite => return,
            Some(declared) => self.cx.error_hint(
                &declared.span,
                format!("container class `{name}` has no SQLite storage"),
                if self.classes.from_exports {
                    "containers need the storage `sqlite`"
                } else {
                    "move it from `new_classes` to `new_sqlite_classes`: containers need that storage"
                },
            ),
            None => self.cx.error_hint(
                &class.span,
                self.undeclared("container class", name),
                self.declare(name),
            ),
        }
        self.settled.insert(name.clone());
    }

    /// The class of a binding must be declared; as in wrangler, a missing declaration is a warning,
    /// unless the name looks like a slip.
    fn check_bindings(&mut self, bindings: &[ClassBinding], owners: &[Spanned<String>]) {
        for binding in bindings {
            let name = &binding.class.value;
            if self.classes.live.contains_key(name) || self.settled.contains(name) {
                continue;
            }
            let bound_elsewhere =
                |candidate: &str| bindings.iter().any(|other| other.class.value == candidate);
            let near = nearest(
                name,
                self.classes
                    .live
                    .keys()
                    .map(String::as_str)
                    .filter(|candidate| !bound_elsewhere(candidate)),
            );
            if let Some(near) = near.map(str::to_owned) {
                self.cx.error_hint(
                    &binding.class.span,
                    format!("there is no Durable Object class `{name}`"),
                    format!("did you mean `{near}`?"),
                );
                if owners.iter().any(|owner| owner.value == near) {
                    self.settled.insert(near);
                }
            } else if self.classes.gone.contains_key(name) {
                self.cx.error_hint(
                    &binding.class.span,
                    self.undeclared("class", name),
                    self.declare(name),
                );
            } else if self.extra.insert(name.clone()) {
                self.cx.warn_hint(
                    &binding.class.span,
                    self.undeclared("class", name),
                    self.declare(name),
                );
            }
        }
    }

    /// A container's class must be reachable from the Worker.
    fn check_bound(&mut self, class: &Spanned<String>, bindings: &[ClassBinding]) {
        let name = &class.value;
        let bound = bindings.iter().any(|binding| binding.class.value == *name);
        if bound || self.classes.from_exports || !self.settled.insert(name.clone()) {
            return;
        }
        let binding = screaming(name);
        let hint = match self.cx.format {
            Format::Jsonc => format!(
                "add to `durable_objects.bindings`: {{ \"name\": \"{binding}\", \"class_name\": \"{name}\" }}"
            ),
            Format::Toml => format!(
                "add a `[[durable_objects.bindings]]` with name = \"{binding}\" and class_name = \"{name}\""
            ),
        };
        self.cx.error_hint(
            &class.span,
            format!("container class `{name}` is not bound, so no Worker can reach it"),
            hint,
        );
    }

    fn undeclared(&self, what: &str, name: &str) -> String {
        match self.classes.gone.get(name) {
            Some(Gone::Deleted(by)) => format!("{what} `{name}` was deleted by {by}"),
            Some(Gone::Renamed(to)) => format!("{what} `{name}` was renamed to `{to}`"),
            Some(Gone::Transferred(to)) => {
                format!("{what} `{name}` was transferred to the Worker `{to}`")
            }
            None if self.classes.from_exports => {
                format!("{what} `{name}` is not in `exports`")
            }
            None => format!("{what} `{name}` has no migration"),
        }
    }

    fn declare(&self, name: &str) -> String {
        if let Some(Gone::Renamed(to)) = self.classes.gone.get(name) {
            return format!("use `{to}`");
        }
        if let Some(near) = nearest(name, self.classes.live.keys().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        let tag = &self.classes.next_tag;
        match (self.classes.from_exports, self.cx.format) {
            (true, Format::Jsonc) => format!(
                "add to `exports`: \"{name}\": {{ \"type\": \"durable-object\", \"storage\": \"sqlite\" }}"
            ),
            (true, Format::Toml) => format!(
                "add `[exports.{name}]` with type = \"durable-object\" and storage = \"sqlite\""
            ),
            (false, Format::Jsonc) => format!(
                "add to `migrations`: {{ \"tag\": \"{tag}\", \"new_sqlite_classes\": [\"{name}\"] }}"
            ),
            (false, Format::Toml) => format!(
                "add `[[migrations]]` with tag = \"{tag}\" and new_sqlite_classes = [\"{name}\"]"
            ),
        }
    }

    fn into_classes(self) -> Vec<DurableObjectClass> {
        let declared = self
            .classes
            .live
            .into_iter()
            .map(|(name, class)| (name, class.sqlite));
        let extra = self.extra.into_iter().map(|name| (name, false));
        declared
            .chain(extra)
            .map(|(class_name, sqlite)| DurableObjectClass { class_name, sqlite })
            .collect()
    }
}

/// wrangler's name for a container without one.
fn default_name(names: &Names, class: &str, environment: Option<&str>) -> String {
    let mut name = format!("{}-{class}", names.written);
    if let Some(environment) = environment {
        name.push('-');
        name.push_str(environment);
    }
    name.to_lowercase().replace(' ', "-")
}

/// `MyContainer` → `MY_CONTAINER`.
fn screaming(class: &str) -> String {
    let mut name = String::new();
    let mut lower = false;
    for character in class.chars() {
        if character.is_uppercase() && lower {
            name.push('_');
        }
        lower = character.is_lowercase() || character.is_ascii_digit();
        name.extend(character.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::screaming;

    #[test]
    fn classes_become_binding_names() {
        assert_eq!(screaming("MyContainer"), "MY_CONTAINER");
        assert_eq!(screaming("MLService"), "MLSERVICE");
        assert_eq!(screaming("Backend2Go"), "BACKEND2_GO");
    }
}
