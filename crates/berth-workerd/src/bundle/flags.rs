//! The options of a build, as wrangler sets them.

use std::path::Path;

use super::BuildOptions;

/// Flags of `esbuild`, one per element.
pub(super) fn flags(options: &BuildOptions<'_>, main: &Path) -> Vec<String> {
    let settings = &options.project.bundle;
    let stem = main.file_stem().unwrap_or_default().to_string_lossy();
    let mut flags: Vec<String> = [
        "--log-level=silent",
        "--log-limit=0",
        "--color=false",
        "--bundle",
        "--metafile",
        "--format=esm",
        "--target=es2024",
        "--supported:import-source=true",
        "--conditions=workerd,worker,browser",
        "--loader:.js=jsx",
        "--loader:.mjs=jsx",
        "--loader:.cjs=jsx",
        "--external:__STATIC_CONTENT_MANIFEST",
        "--sourcemap",
        "--sources-content=false",
    ]
    .map(str::to_owned)
    .into();
    flags.push(format!("--outdir={}", options.out_dir.display()));
    flags.push(format!("--entry-names={stem}"));
    let usual = match settings.production {
        true => "production",
        false => "development",
    };
    let environment = std::env::var("NODE_ENV").unwrap_or_else(|_| usual.to_owned());
    let environment = serde_json::Value::from(environment);
    let defined = |name: &str| settings.define.contains_key(name);
    for object in ["process", "global.process", "globalThis.process"] {
        let name = format!("{object}.env.NODE_ENV");
        if !defined(&name) {
            flags.push(format!("--define:{name}={environment}"));
        }
    }
    if navigator_user_agent(options) && !defined("navigator.userAgent") {
        flags.push("--define:navigator.userAgent=\"Cloudflare-Workers\"".to_owned());
    }
    let own = settings.define.iter();
    flags.extend(own.map(|(name, value)| format!("--define:{name}={value}")));
    if settings.minify {
        flags.push("--minify".to_owned());
    }
    if settings.keep_names {
        flags.push("--keep-names".to_owned());
    }
    let tsconfig = settings.tsconfig.iter();
    flags.extend(tsconfig.map(|path| format!("--tsconfig={}", path.display())));
    let factory = settings.jsx_factory.iter();
    flags.extend(factory.map(|name| format!("--jsx-factory={name}")));
    let fragment = settings.jsx_fragment.iter();
    flags.extend(fragment.map(|name| format!("--jsx-fragment={name}")));
    flags
}

/// Whether the runtime has `navigator.userAgent` (the flag `global_navigator`, default since
/// 2022-03-21), so that bundled code may decide by it.
fn navigator_user_agent(options: &BuildOptions<'_>) -> bool {
    let project = options.project;
    let has = |flag: &str| {
        project
            .compatibility_flags
            .iter()
            .any(|other| other == flag)
    };
    !has("no_global_navigator")
        && (has("global_navigator") || project.compatibility_date.as_str() >= "2022-03-21")
}
