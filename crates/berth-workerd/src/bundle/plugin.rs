//! What esbuild asks during a build: aliases, modules of their own, built-ins, `@cloudflare/containers`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::node::{self, NodeCompat};
use super::rules::{Rules, escape, import_regex};
use super::{BuildOptions, ModuleKind};
use crate::esbuild::{Plugin, Resolution, Resolve, Step, Value, message};

/// Marks questions that come from this plugin itself, so that it does not answer them again.
const OWN_QUESTION: u32 = 1;
/// Namespace of the modules that stand in for `require()` of a built-in module.
const REQUIRED: &str = "berth-required-built-in";
/// The package with the class `Container`.
pub(super) const CONTAINERS: &str = "@cloudflare/containers";

/// A file that is imported as a module of its own.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    pub(super) kind: ModuleKind,
    pub(super) source: PathBuf,
    pub(super) content: Vec<u8>,
}

/// The plugin of one build, and what it found.
pub(super) struct WorkerPlugin<'a> {
    options: &'a BuildOptions<'a>,
    filters: Vec<(String, Handler)>,
    /// Modules by name.
    pub(super) modules: BTreeMap<String, Collected>,
    /// Berth's own `@cloudflare/containers` was used.
    pub(super) own_containers: bool,
    /// Built-in modules that the project has not switched on → importing files.
    pub(super) missing_built_ins: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug)]
enum Handler {
    Alias,
    Rule(ModuleKind),
    RemovedRule,
    BuiltIn,
    Cloudflare,
    Containers,
}

/// What is kept while esbuild resolves.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The answer is the result.
    Forward,
    /// The file is to be collected; `fallback` is where it is if esbuild knows better than we.
    Collect {
        kind: ModuleKind,
        fallback: PathBuf,
        name: String,
    },
    /// A built-in module that npm may have a package for.
    BuiltIn { path: String, importer: String },
    /// The project's own package, if it has one.
    Containers { kind: String, importer: String },
}

impl<'a> WorkerPlugin<'a> {
    pub(super) fn new(options: &'a BuildOptions<'a>, rules: &Rules) -> Self {
        let mut filters = Vec::new();
        let aliases: Vec<_> = options
            .project
            .bundle
            .alias
            .keys()
            .map(|key| escape(key))
            .collect();
        if !aliases.is_empty() {
            filters.push((format!("^({})$", aliases.join("|")), Handler::Alias));
        }
        for (kind, globs) in &rules.active {
            if !matches!(kind, ModuleKind::EsModule | ModuleKind::CommonJs) {
                let handler = Handler::Rule(*kind);
                filters.extend(globs.iter().map(|glob| (import_regex(glob), handler)));
            }
        }
        for (_, globs) in &rules.removed {
            let handler = Handler::RemovedRule;
            filters.extend(globs.iter().map(|glob| (import_regex(glob), handler)));
        }
        filters.push((node::filter(), Handler::BuiltIn));
        filters.push(("^cloudflare:".to_owned(), Handler::Cloudflare));
        filters.push((format!("^{CONTAINERS}$"), Handler::Containers));
        Self {
            options,
            filters,
            modules: BTreeMap::new(),
            own_containers: false,
            missing_built_ins: BTreeMap::new(),
        }
    }

    fn alias(&self, import: &Import) -> Step<Waiting> {
        let Some(target) = self.options.project.bundle.alias.get(import.path) else {
            return pass();
        };
        let resolve = Resolve {
            path: target.clone(),
            // As wrangler: the target is looked up from the project, not from the importing file.
            resolve_dir: self.options.project.root.to_string_lossy().into_owned(),
            ..import.ask()
        };
        Step::Ask(resolve, Waiting::Forward)
    }

    fn rule(import: &Import, kind: ModuleKind) -> Step<Waiting> {
        let path = import.path.split('?').next().unwrap_or(import.path);
        let fallback = Path::new(import.resolve_dir).join(path);
        let resolve = Resolve {
            path: path.to_owned(),
            ..import.ask()
        };
        let name = path.to_owned();
        Step::Ask(
            resolve,
            Waiting::Collect {
                kind,
                fallback,
                name,
            },
        )
    }

    fn built_in(&mut self, import: &Import) -> Step<Waiting> {
        let prefixed_import = import.path.starts_with("node:");
        let full = self.options.node == NodeCompat::Full;
        if full && import.kind == "require-call" {
            return answer([("path", import.path.into()), ("namespace", REQUIRED.into())]);
        }
        if full && let Some(path) = node::prefixed(import.path) {
            return external(&path);
        }
        if !prefixed_import {
            // Without the flag a bare name is a package of npm or a mistake.
            return pass();
        }
        let waiting = Waiting::BuiltIn {
            path: import.path.to_owned(),
            importer: import.importer.to_owned(),
        };
        Step::Ask(import.ask(), waiting)
    }

    fn collect(&mut self, kind: ModuleKind, file: PathBuf, name: &str) -> Step<Waiting> {
        let Ok(content) = fs_err::read(&file) else {
            // esbuild's own message says what is missing and where it was imported.
            return pass();
        };
        let name = if self.options.project.bundle.preserve_file_names {
            name.to_owned()
        } else {
            let digest = Sha256::digest(&content);
            let hash: String = digest[..20]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let base = file.file_name().unwrap_or_default().to_string_lossy();
            format!("./{hash}-{base}")
        };
        let module = name.strip_prefix("./").unwrap_or(&name).to_owned();
        let collected = Collected {
            kind,
            source: file,
            content,
        };
        self.modules.insert(module, collected);
        external(&name)
    }
}

/// An import that esbuild asks about.
struct Import<'a> {
    path: &'a str,
    kind: &'a str,
    importer: &'a str,
    resolve_dir: &'a str,
}

impl<'a> Import<'a> {
    fn of(request: &'a Value) -> Self {
        Self {
            path: request.get("path").text(),
            kind: request.get("kind").text(),
            importer: request.get("importer").text(),
            resolve_dir: request.get("resolveDir").text(),
        }
    }

    /// The same question, for esbuild's own resolver.
    fn ask(&self) -> Resolve {
        Resolve {
            path: self.path.to_owned(),
            kind: self.kind.to_owned(),
            importer: self.importer.to_owned(),
            resolve_dir: self.resolve_dir.to_owned(),
            plugin_data: OWN_QUESTION,
        }
    }
}

impl Plugin for WorkerPlugin<'_> {
    type Waiting = Waiting;

    fn resolve_filters(&self) -> Vec<String> {
        self.filters
            .iter()
            .map(|(filter, _)| filter.clone())
            .collect()
    }

    fn load_namespaces(&self) -> Vec<String> {
        vec![REQUIRED.to_owned()]
    }

    fn resolve(&mut self, id: u32, request: &Value) -> Step<Waiting> {
        if request.get("pluginData").int() == Some(OWN_QUESTION) {
            return pass();
        }
        let import = Import::of(request);
        let handler = self.filters.get(id as usize).map(|(_, handler)| *handler);
        match handler {
            Some(Handler::Alias) => self.alias(&import),
            Some(Handler::Rule(kind)) => Self::rule(&import, kind),
            Some(Handler::RemovedRule) => {
                let text = format!(
                    "`{}` is matched only by a module rule that is ignored, because an earlier \
                     rule of the same type has no `\"fallthrough\": true`",
                    import.path
                );
                answer([("errors", Value::List(vec![message(text)]))])
            }
            Some(Handler::BuiltIn) => self.built_in(&import),
            Some(Handler::Cloudflare) => external(import.path),
            Some(Handler::Containers) => {
                let waiting = Waiting::Containers {
                    kind: import.kind.to_owned(),
                    importer: import.importer.to_owned(),
                };
                Step::Ask(import.ask(), waiting)
            }
            None => pass(),
        }
    }

    fn resolved(&mut self, waiting: Waiting, resolution: Resolution) -> Step<Waiting> {
        match waiting {
            Waiting::Forward => forward(resolution),
            Waiting::Collect {
                kind,
                fallback,
                name,
            } => {
                let file = resolution.path().map_or(fallback, PathBuf::from);
                self.collect(kind, file, &name)
            }
            Waiting::BuiltIn { path, importer } => {
                if resolution.path().is_some() {
                    return forward(resolution);
                }
                if self.options.node == NodeCompat::None {
                    let importers = self.missing_built_ins.entry(path.clone()).or_default();
                    importers.insert(importer);
                }
                external(&path)
            }
            Waiting::Containers { kind, importer } => {
                if resolution.path().is_some() {
                    return forward(resolution);
                }
                self.own_containers = true;
                let resolve = Resolve {
                    path: CONTAINERS.to_owned(),
                    kind,
                    importer,
                    resolve_dir: self
                        .options
                        .toolchain
                        .containers_package
                        .to_string_lossy()
                        .into_owned(),
                    plugin_data: OWN_QUESTION,
                };
                Step::Ask(resolve, Waiting::Forward)
            }
        }
    }

    fn load(&mut self, request: &Value) -> Vec<(String, Value)> {
        let path = request.get("path").text();
        let prefixed = node::prefixed(path).unwrap_or_else(|| path.to_owned());
        let contents = format!("import builtIn from {prefixed:?};\nmodule.exports = builtIn;\n");
        vec![
            ("contents".to_owned(), Value::Bytes(contents.into_bytes())),
            ("loader".to_owned(), "js".into()),
        ]
    }
}

fn pass() -> Step<Waiting> {
    Step::Answer(Vec::new())
}

fn answer<const N: usize>(members: [(&str, Value); N]) -> Step<Waiting> {
    let members = members.map(|(key, value)| (key.to_owned(), value));
    Step::Answer(members.into())
}

fn external(path: &str) -> Step<Waiting> {
    answer([("path", path.into()), ("external", true.into())])
}

/// esbuild's answer as ours; a failed one is left to esbuild, which reports it at its place.
fn forward(resolution: Resolution) -> Step<Waiting> {
    if resolution.path().is_none() && !resolution.0.get("external").is_true() {
        return pass();
    }
    Step::Answer(resolution.into_result())
}
