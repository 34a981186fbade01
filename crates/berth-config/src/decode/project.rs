//! The whole file → one [`Project`] without its secrets.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use super::assets::assets;
use super::bundle::bundle;
use super::containers::containers;
use super::crons::crons;
use super::cx::Cx;
use super::dev::dev;
use super::exports::classes;
use super::field::Spanned;
use super::links::{Linked, link};
use super::observability::observability;
use super::root::Root;
use super::unique::Bindings;
use super::worker::Names;
use super::{bindings, durable, vars, worker};
use crate::value::Value;
use crate::{Project, Spans};

/// What the command line decides.
pub(crate) struct Settings<'a> {
    pub(crate) environment: Option<&'a str>,
    pub(crate) newest_date: Option<&'a str>,
    pub(crate) default_date: &'a str,
}

/// A project, and what adding secrets needs to know.
pub(crate) struct Decoded {
    pub(crate) project: Project,
    /// Names of bindings that no secret may take.
    pub(crate) taken: Vec<String>,
    /// `secrets.required`.
    pub(crate) required: Option<Vec<Spanned<String>>>,
}

/// Decodes a file. If `cx` has errors afterwards, the project is not to be used.
pub(crate) fn decode(cx: &Cx<'_>, top: &Value, settings: &Settings<'_>) -> Decoded {
    let root = Root::new(cx, top, settings.environment);
    root.check_names();
    let config_path = cx.source.path().to_owned();
    let base = config_path.parent().unwrap_or(Path::new("/")).to_owned();
    let names = worker::names(&root);
    let bundle = bundle(&root, &base);
    let may_be_built = bundle.custom_build.is_some();
    let main = worker::main(&root, &base, may_be_built);
    let main_place = main.as_ref().map(|main| cx.locate(&main.span));
    let mut seen = Bindings::default();
    let assets = assets(&root, &base, main.is_some(), may_be_built).map(|(assets, binding)| {
        if let Some(binding) = binding {
            seen.add(&binding, "assets");
        }
        assets
    });
    let linked = objects(&root, &base, &names, main.is_some(), &mut seen);
    let (queue_producers, queue_consumers) = bindings::queues(&root, &mut seen);
    let kv_namespaces = bindings::kv_namespaces(&root, &mut seen);
    let d1_databases = bindings::d1_databases(&root, &mut seen);
    let r2_buckets = bindings::r2_buckets(&root, &mut seen);
    let workflows = bindings::workflows(&root, &names, &mut seen);
    let services = bindings::services(&root, &names, &mut seen);
    let vars = take_vars(&root, &mut seen);
    let mut taken = seen.finish(cx);
    taken.retain(|name| !vars.contains_key(name));
    let project = Project {
        environment: settings.environment.map(str::to_owned),
        name: names.full.clone(),
        main: main.map(|main| main.value),
        compatibility_date: worker::compatibility_date(&root, settings),
        compatibility_flags: worker::compatibility_flags(&root),
        vars,
        secrets: BTreeMap::new(),
        containers: linked.containers,
        durable_objects: linked.durable_objects,
        classes: linked.classes,
        kv_namespaces,
        d1_databases,
        r2_buckets,
        queue_producers,
        queue_consumers,
        workflows,
        crons: crons(&root),
        assets,
        services,
        observability: observability(&root),
        dev: dev(&root),
        bundle,
        written: root.written(),
        spans: Spans {
            container_classes: linked.places,
            main: main_place,
        },
        root: base,
        config_path,
    };
    Decoded {
        project,
        taken,
        required: vars::required_secrets(&root),
    }
}

/// Containers, Durable Object bindings and classes, checked against each other.
fn objects(
    root: &Root<'_>,
    base: &Path,
    names: &Names,
    has_main: bool,
    seen: &mut Bindings,
) -> Linked {
    let drafts = containers(root, base);
    check_entry(root, has_main, !drafts.is_empty());
    let bindings = durable::bindings(root, names, seen);
    link(
        root.cx,
        names,
        root.environment,
        drafts,
        &bindings,
        classes(root),
    )
}

/// Something must be there to run.
fn check_entry(root: &Root<'_>, has_main: bool, has_containers: bool) {
    if has_main || root.get("main").is_some() {
        return;
    }
    let message = match (has_containers, root.get("assets").is_some()) {
        (true, _) => "`main` is missing: containers are started by a Worker",
        (false, false) => "`main` is missing: there is no Worker to run",
        (false, true) => return,
    };
    root.cx.error(
        &worker::start(root),
        message,
        "add the Worker's entry point, for example `src/index.ts`",
    );
}

/// The variables; their names count as bindings.
fn take_vars(root: &Root<'_>, seen: &mut Bindings) -> IndexMap<String, serde_json::Value> {
    vars::vars(root)
        .into_iter()
        .map(|(name, (value, span))| {
            let name = Spanned { value: name, span };
            seen.add(&name, "variable");
            (name.value, value)
        })
        .collect()
}
