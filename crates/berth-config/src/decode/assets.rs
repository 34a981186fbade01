//! `assets`.

use std::path::Path;

use super::field::{Field, Spanned};
use super::root::Root;
use super::worker::{absolute, missing_file};
use crate::value::Kind;
use crate::{Assets, RunWorkerFirst};

const HTML: &[&str] = &[
    "auto-trailing-slash",
    "force-trailing-slash",
    "drop-trailing-slash",
    "none",
];
const NOT_FOUND: &[&str] = &["none", "single-page-application", "404-page"];

/// The assets, and their binding's place. `has_main`: there is a Worker in front of them.
/// `may_be_built`: a custom build may still make the directory.
pub(crate) fn assets(
    root: &Root<'_>,
    base: &Path,
    has_main: bool,
    may_be_built: bool,
) -> Option<(Assets, Option<Spanned<String>>)> {
    let field = root.get("assets")?;
    let fields = field.fields()?;
    let directory = fields.get("directory");
    let binding = fields.text("binding");
    let html = fields.get("html_handling").and_then(|it| it.choice(HTML));
    let not_found = fields
        .get("not_found_handling")
        .and_then(|it| it.choice(NOT_FOUND));
    let first = fields.get("run_worker_first");
    let run_worker_first = first.as_ref().and_then(run_worker_first);
    fields.finish();

    if !has_main {
        needs_worker(&field, binding.as_ref(), first.as_ref());
    }
    let Some(directory) = directory else {
        field.cx.error(
            &field.key_span,
            "`assets.directory` is missing",
            "name the directory with the files, for example `./public`",
        );
        return None;
    };
    let written = directory.text()?;
    let path = absolute(base, &written.value);
    if path.is_file() {
        field.cx.error(
            &written.span,
            format!("`assets.directory` is a file: `{}`", written.value),
            "name the directory with the files",
        );
    } else if !path.is_dir() && !may_be_built {
        missing_file(&directory, &written, &path, "`assets.directory`");
    }
    let assets = Assets {
        directory: path,
        binding: binding.as_ref().map(|binding| binding.value.clone()),
        html_handling: html.map_or_else(|| "auto-trailing-slash".to_owned(), |it| it.value),
        not_found_handling: not_found.map_or_else(|| "none".to_owned(), |it| it.value),
        run_worker_first: run_worker_first.unwrap_or(RunWorkerFirst::Always(false)),
    };
    Some((assets, binding))
}

fn run_worker_first(field: &Field<'_>) -> Option<RunWorkerFirst> {
    match field.value.kind {
        Kind::Bool(always) => Some(RunWorkerFirst::Always(always)),
        Kind::Array(_) => {
            let routes = field.strings();
            for route in &routes {
                let pattern = route.value.strip_prefix('!').unwrap_or(&route.value);
                if !pattern.starts_with('/') {
                    field.cx.error(
                        &route.span,
                        format!("`{}` is no path", route.value),
                        format!("patterns begin with `/` or `!/`: `/{pattern}`"),
                    );
                }
            }
            Some(RunWorkerFirst::Routes(
                routes.into_iter().map(|route| route.value).collect(),
            ))
        }
        _ => {
            field.cx.error(
                field.span(),
                format!(
                    "`{}` must be `true`, `false` or an array of paths, but is {}",
                    field.path, field.value.kind
                ),
                "for example `[\"/api/*\"]`",
            );
            None
        }
    }
}

/// wrangler's two rules for a project that is nothing but assets.
fn needs_worker(field: &Field<'_>, binding: Option<&Spanned<String>>, first: Option<&Field<'_>>) {
    let hint = "add `main`, or remove this";
    if let Some(binding) = binding {
        field.cx.error(
            &binding.span,
            "`assets.binding` without `main`: there is no Worker that could use it",
            hint,
        );
    }
    if let Some(first) = first
        && !matches!(first.value.kind, Kind::Bool(false))
    {
        field.cx.error(
            &first.key_span,
            "`assets.run_worker_first` without `main`: there is no Worker that could run",
            hint,
        );
    }
}
