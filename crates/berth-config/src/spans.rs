//! What [`Project`] remembers of its file, so that later findings can point at a line.
//!
//! Filled while decoding; read only by the helpers that make a [`Diagnostic`] after loading.

use std::collections::BTreeMap;

use crate::diagnostic::Location;
use crate::{Diagnostic, Project};

/// Locations in the configuration file. Empty (`default()`) for projects that were not read from one.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// Of the name of each container's class: its `class_name`, or its key in `exports`.
    pub(crate) container_classes: BTreeMap<String, Location>,
    /// Of `main`.
    pub(crate) main: Option<Location>,
}

/// The finding that the bundle does not export a class which a container needs.
///
/// It points at the line which names the class; without one (see [`Spans`]) at the file.
pub fn container_class_not_exported(project: &Project, class: &str) -> Diagnostic {
    let main = project.main.as_deref().map_or_else(
        || "the Worker".to_owned(),
        |main| {
            let shown = main.strip_prefix(&project.root).unwrap_or(main);
            format!("`{}`", shown.display())
        },
    );
    let diagnostic = Diagnostic::error(
        &project.config_path,
        format!("container class `{class}` is not exported by {main}"),
    )
    .with_hint(format!(
        "export it there: `export class {class} extends Container {{ … }}`"
    ));
    match project.spans.container_classes.get(class) {
        Some(location) => diagnostic.at(location.clone()),
        None => diagnostic,
    }
}

/// The finding that the entry point could not be used, pointing at the line of `main`.
pub fn bad_main(project: &Project, message: impl Into<String>) -> Diagnostic {
    let diagnostic = Diagnostic::error(&project.config_path, message);
    match &project.spans.main {
        Some(location) => diagnostic.at(location.clone()),
        None => diagnostic,
    }
}
