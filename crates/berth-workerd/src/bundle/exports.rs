//! What esbuild says about the result: inputs, exports, and what is missing among them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_config::{ConfigErrors, Diagnostic, Project, container_class_not_exported};

use super::node::{self, NodeCompat};
use super::{BundleError, text_of};
use crate::esbuild::{SessionError, Value, map};

/// esbuild's description of a build.
pub(super) struct Metafile(serde_json::Value);

impl Metafile {
    pub(super) fn parse(value: &Value) -> Result<Self, BundleError> {
        serde_json::from_str(&text_of(value))
            .map(Self)
            .map_err(|_| SessionError::Protocol("a metafile that is not JSON").into())
    }

    /// Names that the entry point exports.
    pub(super) fn exports(&self) -> Vec<String> {
        let outputs = self.0["outputs"].as_object();
        let entry = outputs
            .into_iter()
            .flat_map(|outputs| outputs.values())
            .find(|output| output["entryPoint"].is_string());
        let names = entry.and_then(|entry| entry["exports"].as_array());
        let names = names.into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    /// The files that went in. Modules that exist only in this build are left out.
    pub(super) fn inputs(&self, root: &Path) -> Vec<PathBuf> {
        let inputs = self.0["inputs"].as_object().into_iter();
        inputs
            .flat_map(|inputs| inputs.keys())
            .map(|path| root.join(path))
            .filter(|path| path.is_file())
            .collect()
    }
}

/// Checks that the classes and entrypoints of the configuration are exported.
pub(super) fn check(project: &Project, exports: &[String]) -> Result<(), BundleError> {
    if exports.is_empty() {
        let message = "the entry point exports nothing, but a Worker is an ES module with \
                       `export default`";
        return Err(BundleError::Project(
            berth_config::bad_main(project, message).into(),
        ));
    }
    let missing = |name: &&str| !exports.iter().any(|export| export == name);
    let containers = || project.containers.iter().map(|app| app.class_name.as_str());
    let mut errors: Vec<Diagnostic> = containers()
        .filter(missing)
        .map(|class| container_class_not_exported(project, class))
        .collect();
    let objects = project
        .durable_objects
        .iter()
        .map(|object| object.class_name.as_str());
    let objects: BTreeSet<&str> = objects
        .filter(|class| containers().all(|container| container != *class))
        .collect();
    let workflows = project
        .workflows
        .iter()
        .map(|flow| flow.class_name.as_str());
    let entrypoints = project
        .services
        .iter()
        .filter_map(|service| service.entrypoint.as_deref());
    let wanted = [
        ("Durable Object class", "DurableObject", objects),
        ("workflow class", "WorkflowEntrypoint", workflows.collect()),
        ("entrypoint", "WorkerEntrypoint", entrypoints.collect()),
    ];
    for (what, base, names) in wanted {
        let names = names.into_iter().filter(missing);
        errors.extend(names.map(|name| not_exported(project, what, base, name)));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let warnings = Vec::new();
    Err(BundleError::Project(ConfigErrors { errors, warnings }))
}

fn not_exported(project: &Project, what: &str, base: &str, name: &str) -> Diagnostic {
    let main = project.main.as_deref().unwrap_or(&project.root);
    let main = main.strip_prefix(&project.root).unwrap_or(main);
    Diagnostic::error(
        &project.config_path,
        format!("{what} `{name}` is not exported by `{}`", main.display()),
    )
    .with_hint(format!(
        "export it there: `export class {name} extends {base} {{ … }}`"
    ))
}

/// The warning about a built-in module that the project's flags do not promise.
pub(super) fn missing_built_in(root: &Path, name: &str, importers: &BTreeSet<String>) -> String {
    let importers = importers.iter().map(|importer| {
        let path = Path::new(importer);
        format!("\n  {}", path.strip_prefix(root).unwrap_or(path).display())
    });
    format!(
        "`{name}` is built into Node.js but not switched on here: add \"nodejs_compat\" to \
         compatibility_flags. Imported from:{}",
        importers.collect::<String>()
    )
}

/// The errors, with a note on each import that the flag `nodejs_compat` would resolve.
pub(super) fn with_node_hint(errors: &Value, compat: NodeCompat) -> Value {
    if compat == NodeCompat::Full {
        return errors.clone();
    }
    let noted = errors.list().iter().map(|error| {
        let text = error.get("text").text();
        let import = text
            .strip_prefix("Could not resolve \"")
            .and_then(|rest| rest.strip_suffix('"'));
        let Some(name) = import.and_then(node::prefixed) else {
            return error.clone();
        };
        let advice = match compat {
            NodeCompat::None => "add \"nodejs_compat\" to compatibility_flags".to_owned(),
            _ => format!("import \"{name}\", or use a compatibility_date of 2024-09-23 or later"),
        };
        let text = format!("It is built into Node.js: {advice}.");
        let note = map([("text", text.into()), ("location", Value::Null)]);
        replace(error, "notes", Value::List(vec![note]))
    });
    Value::List(noted.collect())
}

fn replace(value: &Value, key: &str, new: Value) -> Value {
    let Value::Map(entries) = value else {
        return value.clone();
    };
    let mut entries = entries.clone();
    entries.retain(|(name, _)| name != key);
    entries.push((key.to_owned(), new));
    Value::Map(entries)
}
