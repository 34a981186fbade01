//! How containers, Durable Object classes and bindings hang together.
//!
//! A container belongs to exactly one class and a class to at most one container; the link is made
//! by the container (`class_name`) or by the class (`exports.<Class>.container`). The class must be
//! SQLite-backed, and reachable: bound, or declared in `exports`. One mistake gives one message, so
//! each check is silent about what an earlier one reported.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::classes::Classes;
use super::containers::Draft;
use super::cx::Cx;
use super::durable::ClassBinding;
use super::exports::class_of_container;
use super::field::Spanned;
use super::nearest::nearest;
use super::worker::Names;
use crate::source::Span;
use crate::{ContainerApp, DurableObjectBinding, DurableObjectClass, Location};

mod wording;

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
        broken_links: IndexSet::new(),
        container_names: drafts
            .iter()
            .filter_map(|draft| Some(draft.name.as_ref()?.value.clone()))
            .collect(),
    };
    let (containers, owners) = linker.settle(drafts, names, environment);
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
        places: owners
            .into_iter()
            .map(|class| (class.value, cx.locate(&class.span)))
            .collect(),
    }
}

struct Linker<'a> {
    cx: &'a Cx<'a>,
    classes: Classes,
    /// Container classes about which there is a message already.
    settled: IndexSet<String>,
    /// Classes that are bound but declared nowhere; workerd runs them without SQLite.
    extra: IndexSet<String>,
    /// Classes whose `container` was reported.
    broken_links: IndexSet<String>,
    /// The names that containers have been given.
    container_names: IndexSet<String>,
}

impl Linker<'_> {
    /// Names and classes of all containers, each name and each class once.
    fn settle(
        &mut self,
        drafts: Vec<Draft>,
        names: &Names,
        environment: Option<&str>,
    ) -> (Vec<ContainerApp>, Vec<Spanned<String>>) {
        let mut containers: Vec<ContainerApp> = Vec::new();
        let mut owners: Vec<Spanned<String>> = Vec::new();
        for draft in drafts {
            let written_name = draft.name.clone();
            let Some((mut app, class)) = self.class_of(draft, names, environment) else {
                continue;
            };
            if containers.iter().any(|other| other.name == app.name) {
                let span = written_name.as_ref().map_or(&class.span, |name| &name.span);
                self.cx.error(
                    span,
                    format!("two containers are named `{}`", app.name),
                    "give one of them another `name`",
                );
            }
            if owners.iter().any(|owner| owner.value == class.value) {
                self.settled.insert(class.value.clone());
                self.cx.error(
                    &class.span,
                    format!("the class `{}` has a container already", class.value),
                    "a class drives one container: add a class, or remove this container",
                );
            }
            app.class_name.clone_from(&class.value);
            containers.push(app);
            owners.push(class);
        }
        (containers, owners)
    }

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
                self.cx.error(
                    &class.span,
                    format!(
                        "this container names the class `{}`, but `exports.{claimant}` claims it",
                        class.value
                    ),
                    "make both agree, or remove `class_name`",
                );
                self.broken_links.insert(claimant);
                return None;
            }
            (Some(class), _) => class,
            (None, Some((claimant, link))) => Spanned {
                value: claimant,
                span: link.span,
            },
            (None, None) => {
                self.report_unlinked(&draft.name, &draft.span, &draft.path);
                return None;
            }
        };
        app.name = match draft.name {
            Some(name) => name.value,
            None => default_name(names, &class.value, environment),
        };
        Some((app, class))
    }

    /// A container without a class: either nothing names one, or a class misspells the container.
    fn report_unlinked(&mut self, name: &Option<Spanned<String>>, span: &Span, path: &str) {
        let misspelt = name.as_ref().and_then(|name| {
            self.classes.live.iter().find_map(|(class, declared)| {
                let link = declared.container.as_ref()?;
                let is_slip = !self.container_names.contains(&link.value)
                    && nearest(&link.value, [name.value.as_str()]).is_some();
                is_slip.then(|| (class.clone(), link.clone(), name.value.clone()))
            })
        });
        if let Some((class, link, name)) = misspelt {
            self.cx.error(
                &link.span,
                format!("there is no container `{}`", link.value),
                format!("did you mean `{name}`?"),
            );
            self.broken_links.insert(class);
            return;
        }
        let hint = match name {
            Some(name) => format!(
                "set `class_name`, or set `container` to `{}` at the class in `exports`",
                name.value
            ),
            None => "set `class_name` to the class that drives it".to_owned(),
        };
        self.cx.error(
            span,
            format!("`{path}` belongs to no Durable Object class"),
            hint,
        );
    }

    /// `exports.<Class>.container` must lead to a container that leads back.
    fn check_export_links(&mut self, containers: &[ContainerApp]) {
        for (class, declared) in &self.classes.live {
            let Some(link) = &declared.container else {
                continue;
            };
            if self.broken_links.contains(class) {
                continue;
            }
            match containers.iter().find(|app| app.name == link.value) {
                Some(app) if app.class_name == *class => {}
                Some(app) => self.cx.error(
                    &link.span,
                    format!(
                        "the container `{}` belongs to the class `{}`",
                        link.value, app.class_name
                    ),
                    "a container drives one class: make both agree",
                ),
                None => self.cx.error(
                    &link.span,
                    format!("there is no container `{}`", link.value),
                    "add it to `containers`, with this `name`",
                ),
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
            Some(declared) => self.cx.error(
                &declared.span,
                format!("container class `{name}` has no SQLite storage"),
                if self.classes.from_exports {
                    "containers need the storage `sqlite`"
                } else {
                    "move it from `new_classes` to `new_sqlite_classes`: containers need that storage"
                },
            ),
            None => self.cx.error(
                &class.span,
                wording::undeclared(&self.classes, "container class", name),
                wording::declare(&self.classes, self.cx.format, name),
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
                self.cx.error(
                    &binding.class.span,
                    format!("there is no Durable Object class `{name}`"),
                    format!("did you mean `{near}`?"),
                );
                if owners.iter().any(|owner| owner.value == near) {
                    self.settled.insert(near);
                }
            } else if self.classes.gone.contains_key(name) {
                self.cx.error(
                    &binding.class.span,
                    wording::undeclared(&self.classes, "class", name),
                    wording::declare(&self.classes, self.cx.format, name),
                );
            } else if self.extra.insert(name.clone()) {
                self.cx.warn(
                    &binding.class.span,
                    wording::undeclared(&self.classes, "class", name),
                    wording::declare(&self.classes, self.cx.format, name),
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
        self.cx.error(
            &class.span,
            format!("container class `{name}` is not bound, so no Worker can reach it"),
            wording::bind(self.cx.format, name),
        );
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
            .map(|(class_name, sqlite)| DurableObjectClass {
                class_name,
                sqlite,
                key: None,
            })
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
