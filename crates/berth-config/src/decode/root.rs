//! The whole file as seen from one environment.

use super::cx::Cx;
use super::field::{Field, member, unknown};
use super::keys::{self, KEYS, Scope, Use};
use super::nearest::list;
use crate::value::{Entry, Kind, Value};

/// The top level and, if one was asked for, one of its environments.
pub(crate) struct Root<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) top: &'a Value,
    /// The environment asked for, defined or not.
    pub(crate) environment: Option<&'a str>,
    defined: Option<&'a Value>,
}

impl<'a> Root<'a> {
    /// Chooses the environment. As in wrangler, an unknown one is a mistake if the file has
    /// environments at all; if it has none, the top level is used and a warning says so.
    pub(crate) fn new(cx: &'a Cx<'a>, top: &'a Value, environment: Option<&'a str>) -> Self {
        let environments = top.entry("env");
        let mut root = Self {
            cx,
            top,
            environment,
            defined: None,
        };
        if let Some(entry) = environments
            && !matches!(entry.value.kind, Kind::Object(_))
        {
            let kind = &entry.value.kind;
            cx.error(
                &entry.value.span,
                format!("`env` must be an object, but is {kind}"),
                "its fields are environments, whose fields are like the top level's",
            );
            return root;
        }
        let Some(name) = environment else {
            return root;
        };
        match environments.and_then(|entry| entry.value.entry(name)) {
            Some(entry) if matches!(entry.value.kind, Kind::Object(_)) => {
                root.defined = Some(&entry.value);
            }
            Some(entry) => cx.error(
                &entry.value.span,
                format!(
                    "`env.{name}` must be an object, but is {}",
                    entry.value.kind
                ),
                "its fields are like those of the top level",
            ),
            None => root.unknown_environment(name, environments),
        }
        root
    }

    fn unknown_environment(&self, name: &str, environments: Option<&Entry>) {
        let known: Vec<&str> = environments
            .map(|entry| entry.value.entries())
            .unwrap_or_default()
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        let message = format!("there is no environment `{name}`");
        match environments {
            Some(entry) if !known.is_empty() => self.cx.error(
                &entry.key_span,
                message,
                format!("the file has {}", list(known.iter().copied())),
            ),
            _ => self.cx.push(
                crate::Diagnostic::warning(self.cx.source.path(), message).with_hint(format!(
                    "the file has no environments, so the top level is used; add `env.{name}`"
                )),
            ),
        }
    }

    /// The value of a top-level field in this environment.
    pub(crate) fn get(&self, name: &'static str) -> Option<Field<'a>> {
        let scope = keys::find(name).map_or(Scope::TopLevel, |key| key.scope);
        let own = self.own(name);
        match (scope, self.defined) {
            (Scope::TopLevel, _) | (_, None) => self.top_level(name),
            (Scope::Inherited, Some(_)) => own.or_else(|| self.top_level(name)),
            (Scope::Own, Some(_)) => own,
        }
    }

    /// A field of the environment itself.
    pub(crate) fn own(&self, name: &str) -> Option<Field<'a>> {
        let entry = self.defined?.entry(name)?;
        Some(member(self.cx, &self.environment_path(), entry))
    }

    /// A field of the top level.
    pub(crate) fn top_level(&self, name: &str) -> Option<Field<'a>> {
        Some(member(self.cx, "", self.top.entry(name)?))
    }

    /// `env.staging`, or nothing.
    pub(crate) fn environment_path(&self) -> String {
        match (self.environment, self.defined) {
            (Some(name), Some(_)) => format!("env.{name}"),
            _ => String::new(),
        }
    }

    /// Every field that the file has in this environment, as JSON.
    pub(crate) fn written(&self) -> serde_json::Map<String, serde_json::Value> {
        let keys = KEYS.iter().filter(|key| key.name != "env");
        keys.filter_map(|key| Some((key.name.to_owned(), self.get(key.name)?.value.to_json())))
            .collect()
    }

    /// Unknown names, names in the wrong place, what is not inherited, what Berth does not run.
    pub(crate) fn check_names(&self) {
        self.check_layer("", self.top);
        if let Some(environment) = self.defined {
            self.check_layer(&self.environment_path(), environment);
            self.check_not_inherited(environment);
        }
        for key in KEYS {
            if let Use::Without(what) = key.usage
                && !self.cx.is_deployed()
                && let Some(field) = self.get(key.name)
                && !harmless(key.name, field.value)
            {
                let text = format!("`{}` has no effect here: {what}", key.name);
                let hint = "deploy to a server to try it";
                self.cx.warn(&field.key_span, text, hint);
            }
            let refused = match key.usage {
                Use::Refused(what) => Some(what),
                Use::Deployed(what) if !self.cx.is_deployed() => Some(what),
                _ => None,
            };
            if let Some(what) = refused
                && let Some(field) = self.get(key.name)
                && !harmless(key.name, field.value)
            {
                self.refuse(key.name, what, &field);
            }
        }
    }

    fn check_layer(&self, path: &str, layer: &Value) {
        let top = path.is_empty();
        for entry in layer.entries() {
            match keys::find(&entry.key) {
                Some(key) if key.scope == Scope::TopLevel && !top => self.cx.warn(
                    &entry.key_span,
                    format!("`{}` has no effect in `{path}`", entry.key),
                    "move it to the top level: it counts for every environment",
                ),
                Some(_) => {}
                None if self.removed(entry) => {}
                None => {
                    let known: Vec<&str> = KEYS
                        .iter()
                        .filter(|key| top || key.scope != Scope::TopLevel)
                        .map(|key| key.name)
                        .collect();
                    unknown(self.cx, path, entry, &known);
                }
            }
        }
    }

    /// Fields that wrangler 4 no longer has.
    fn removed(&self, entry: &Entry) -> bool {
        let hint = match entry.key.as_str() {
            "node_compat" => "use the compatibility flag `nodejs_compat`",
            "legacy_env" => "remove it: every environment is a Worker of its own",
            _ => return false,
        };
        let message = format!("wrangler no longer has the field `{}`", entry.key);
        if matches!(
            (entry.key.as_str(), &entry.value.kind),
            ("legacy_env", Kind::Bool(true))
        ) {
            self.cx.warn(&entry.key_span, message, hint);
        } else {
            self.cx.error(&entry.key_span, message, hint);
        }
        true
    }

    fn check_not_inherited(&self, environment: &Value) {
        let path = self.environment_path();
        for key in KEYS.iter().filter(|key| key.scope == Scope::Own) {
            if let Some(top) = self.top.entry(key.name)
                && environment.entry(key.name).is_none()
                && !top.value.is_empty()
            {
                self.cx.warn(
                    &top.key_span,
                    format!("`{}` is not in `{path}`", key.name),
                    format!(
                        "environments do not inherit `{0}`: repeat it as `{path}.{0}`",
                        key.name
                    ),
                );
            }
        }
        for name in ["vars", "define"] {
            let (Some(top), Some(own)) = (self.top.entry(name), environment.entry(name)) else {
                continue;
            };
            let missing: Vec<&str> = top
                .value
                .entries()
                .iter()
                .map(|entry| entry.key.as_str())
                .filter(|key| own.value.entry(key).is_none())
                .collect();
            if !missing.is_empty() {
                self.cx.warn(
                    &own.key_span,
                    format!("`{path}.{name}` lacks {}", list(missing)),
                    format!("environments do not inherit `{name}`: repeat all of it"),
                );
            }
        }
    }

    fn refuse(&self, name: &str, what: &str, field: &Field<'_>) {
        let hint = match name {
            "site" => "use `assets` with the same directory",
            "pages_build_output_dir" => {
                "make it a Worker: `main`, and `assets.directory` for the files"
            }
            "wasm_modules" | "text_blobs" | "data_blobs" => {
                "write the Worker as an ES module and `import` the file"
            }
            _ => "remove it, or keep it in an `env.<name>` that you do not run here",
        };
        self.cx.error(
            &field.key_span,
            format!("Berth does not run {what} yet"),
            hint,
        );
    }
}

/// Nothing is asked for: an empty list, or the part of `unsafe` that is about uploads.
fn harmless(name: &str, value: &Value) -> bool {
    match name {
        "unsafe" => value
            .entry("bindings")
            .is_none_or(|bindings| bindings.value.is_empty()),
        _ => value.is_empty(),
    }
}
