//! Modules that are taken as they are: `no_bundle` and `find_additional_modules`.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use ignore::WalkBuilder;

use super::rules::Rules;
use super::write::{Fingerprint, module_path, write};
use super::{BuildOptions, Bundle, BundleError, Module, ModuleKind};

/// Directories that never hold modules of the Worker.
const SKIPPED: [&str; 4] = ["node_modules", ".git", ".wrangler", ".berth"];

/// The entry point as it is, and every file around it that a rule matches.
pub(super) fn unbundled(options: &BuildOptions<'_>, main: &Path) -> Result<Bundle, BundleError> {
    let mut rules = Rules::new(&options.project.bundle.rules);
    let mut bundle = Bundle::default();
    let base = base(options, main);
    let name = main.strip_prefix(&base).unwrap_or(main);
    let name = name.to_string_lossy().into_owned();
    let kind = match main.extension().and_then(|extension| extension.to_str()) {
        Some("cjs") => ModuleKind::CommonJs,
        _ => ModuleKind::EsModule,
    };
    add(options, &mut bundle, main, name, kind)?;
    let scripts =
        |(kind, _): &(ModuleKind, _)| matches!(kind, ModuleKind::EsModule | ModuleKind::CommonJs);
    if !rules.active.iter().any(scripts) {
        let globs = ["**/*.js", "**/*.mjs"].map(str::to_owned);
        rules.active.push((ModuleKind::EsModule, globs.into()));
    }
    if options.project.bundle.find_additional_modules != Some(false) {
        additional(options, main, &rules, &mut bundle)?;
    }
    bundle.warnings = rules.warnings;
    refresh(&mut bundle)?;
    Ok(bundle)
}

/// Adds every file below the base directory that a rule matches and that is not there yet.
pub(super) fn additional(
    options: &BuildOptions<'_>,
    main: &Path,
    rules: &Rules,
    bundle: &mut Bundle,
) -> Result<(), BundleError> {
    let base = base(options, main);
    let globs: Vec<(ModuleKind, GlobMatcher)> = rules
        .active
        .iter()
        .flat_map(|(kind, globs)| globs.iter().map(move |glob| (*kind, glob)))
        .filter_map(|(kind, glob)| {
            let glob = GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .ok()?;
            Some((kind, glob.compile_matcher()))
        })
        .collect();
    for path in files(&base) {
        let Ok(name) = path.strip_prefix(&base) else {
            continue;
        };
        if path == main || path == options.project.config_path {
            continue;
        }
        let Some((kind, _)) = globs.iter().find(|(_, glob)| glob.is_match(name)) else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        if !bundle.modules.iter().any(|module| module.name == name) {
            add(options, bundle, &path, name, *kind)?;
        }
    }
    bundle.watch_inputs.push(base);
    refresh(bundle)
}

fn base(options: &BuildOptions<'_>, main: &Path) -> PathBuf {
    let configured = options.project.bundle.base_dir.clone();
    configured.unwrap_or_else(|| main.parent().unwrap_or(main).to_owned())
}

fn files(base: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = WalkBuilder::new(base)
        .standard_filters(false)
        .filter_entry(|entry| !SKIPPED.iter().any(|name| entry.file_name() == *name))
        .build()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .map(ignore::DirEntry::into_path)
        .collect();
    files.sort();
    files
}

fn add(
    options: &BuildOptions<'_>,
    bundle: &mut Bundle,
    source: &Path,
    name: String,
    kind: ModuleKind,
) -> Result<(), BundleError> {
    let content = fs_err::read(source).map_err(|error| BundleError::File {
        action: "read",
        path: source.to_owned(),
        source: error,
    })?;
    let path = module_path(options.out_dir, &name);
    write(&path, &content)?;
    bundle.watch_inputs.push(source.to_owned());
    bundle.modules.push(Module { name, kind, path });
    Ok(())
}

/// Computes the fingerprint anew from the files.
fn refresh(bundle: &mut Bundle) -> Result<(), BundleError> {
    let mut fingerprint = Fingerprint::default();
    for module in &bundle.modules {
        let content = fs_err::read(&module.path).map_err(|source| BundleError::File {
            action: "read",
            path: module.path.clone(),
            source,
        })?;
        fingerprint.add(&module.name, &content);
    }
    bundle.fingerprint = fingerprint.finish();
    Ok(())
}
