//! `rules`, `define`, `alias`, `build` and the switches of the bundler.

use std::path::Path;

use super::field::{Field, Fields};
use super::root::Root;
use super::worker::{absolute, missing_file};
use crate::value::Kind;
use crate::{Bundle, CustomBuild, ModuleRule};

const RULE_TYPES: &[&str] = &["ESModule", "CommonJS", "CompiledWasm", "Text", "Data"];

/// How the Worker is bundled.
pub(crate) fn bundle(root: &Root<'_>, base: &Path) -> Bundle {
    let switch = |name| root.get(name).and_then(|field| field.boolean());
    let text = |name| root.get(name).and_then(|field| field.text());
    Bundle {
        rules: root
            .get("rules")
            .map(|field| field.objects().into_iter().filter_map(rule).collect())
            .unwrap_or_default(),
        define: map(root.get("define")),
        alias: map(root.get("alias")),
        no_bundle: switch("no_bundle").unwrap_or(false),
        minify: switch("minify").unwrap_or(false),
        keep_names: switch("keep_names").unwrap_or(true),
        tsconfig: root
            .get("tsconfig")
            .and_then(|field| existing_file(&field, base)),
        jsx_factory: text("jsx_factory").map(|it| it.value),
        jsx_fragment: text("jsx_fragment").map(|it| it.value),
        find_additional_modules: switch("find_additional_modules"),
        base_dir: text("base_dir").map(|it| absolute(base, &it.value)),
        preserve_file_names: switch("preserve_file_names").unwrap_or(false),
        production: root.cx.is_deployed(),
        custom_build: root
            .get("build")
            .and_then(|field| field.fields())
            .and_then(|fields| custom_build(fields, base)),
    }
}

fn map(field: Option<Field<'_>>) -> std::collections::BTreeMap<String, String> {
    field
        .map(|field| field.string_map().into_iter().collect())
        .unwrap_or_default()
}

fn existing_file(field: &Field<'_>, base: &Path) -> Option<std::path::PathBuf> {
    let written = field.text()?;
    let path = absolute(base, &written.value);
    if !path.is_file() {
        missing_file(field, &written, &path, &format!("`{}`", field.path));
    }
    Some(path)
}

fn rule(fields: Fields<'_>) -> Option<ModuleRule> {
    let kind = fields.require("type").and_then(|it| it.choice(RULE_TYPES));
    let globs = fields.require("globs").map(|it| it.strings());
    let fallthrough = fields.get("fallthrough").and_then(|it| it.boolean());
    fields.finish();
    Some(ModuleRule {
        kind: kind?.value,
        globs: globs?.into_iter().map(|glob| glob.value).collect(),
        fallthrough: fallthrough.unwrap_or(false),
    })
}

/// `None` without a command: the other fields then mean nothing.
fn custom_build(fields: Fields<'_>, base: &Path) -> Option<CustomBuild> {
    let command = fields.text("command");
    let cwd = fields
        .text("cwd")
        .map_or_else(|| base.to_owned(), |cwd| absolute(base, &cwd.value));
    let watch = fields.get("watch_dir").map(|field| match field.value.kind {
        Kind::Array(_) => field.strings(),
        _ => field.text().into_iter().collect(),
    });
    if let Some(upload) = fields.get("upload") {
        upload.cx.error(
            &upload.key_span,
            "wrangler no longer has the field `build.upload`",
            "remove it; module rules are `rules` at the top level",
        );
    }
    fields.finish();
    let watch_dirs = match watch {
        Some(dirs) => dirs.iter().map(|dir| absolute(base, &dir.value)).collect(),
        None => vec![base.join("src")],
    };
    Some(CustomBuild {
        command: command?.value,
        cwd,
        watch_dirs,
    })
}
