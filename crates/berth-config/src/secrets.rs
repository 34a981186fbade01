//! Where secrets come from: `.dev.vars`, or else the `.env` files, next to the configuration file.
//!
//! As in wrangler: `.dev.vars.<environment>` is read instead of `.dev.vars` if it exists; if either
//! exists, no `.env` file is. Of those, later ones win: `.env`, `.env.local`, `.env.<environment>`,
//! `.env.<environment>.local`; references between variables are expanded in them only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::dotenv::{Variable, expand, mask, parse};
use crate::source::Source;
use crate::{Diagnostic, Severity};

/// What the secret files hold.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) values: BTreeMap<String, String>,
    /// Which of a name's assignments won, for messages.
    pub(crate) places: BTreeMap<String, Diagnostic>,
    pub(crate) findings: Vec<Diagnostic>,
}

/// Every file that could give secrets: `.dev.vars` files, then `.env` files.
pub(crate) fn files(root: &Path, environment: Option<&str>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let dev_vars = environment
        .map(|name| root.join(format!(".dev.vars.{name}")))
        .into_iter()
        .chain([root.join(".dev.vars")])
        .collect();
    let mut dotenv = vec![root.join(".env"), root.join(".env.local")];
    if let Some(name) = environment {
        dotenv.push(root.join(format!(".env.{name}")));
        dotenv.push(root.join(format!(".env.{name}.local")));
    }
    (dev_vars, dotenv)
}

/// Reads them. `process`: variables that win over `.env` files and can be referred to in them;
/// only with `secrets.required` does wrangler look there.
pub(crate) fn read(
    root: &Path,
    environment: Option<&str>,
    process: &BTreeMap<String, String>,
) -> Secrets {
    let (dev_vars, dotenv) = files(root, environment);
    let mut secrets = Secrets::default();
    if let Some(file) = dev_vars.iter().find(|file| file.is_file()) {
        for variable in secrets.parse(file) {
            secrets.values.insert(variable.name, variable.value);
        }
        return secrets;
    }
    let mut merged = IndexMap::new();
    for file in dotenv.iter().filter(|file| file.is_file()) {
        for variable in secrets.parse(file) {
            merged.insert(variable.name, variable.value);
        }
    }
    let mut known = process.clone();
    for (name, value) in merged {
        let value = match process.get(&name).filter(|value| !value.is_empty()) {
            Some(value) => value.clone(),
            None => expand(&value, &known),
        };
        known.insert(name.clone(), value.clone());
        secrets.values.insert(name, value);
    }
    for (name, value) in process {
        secrets
            .values
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    secrets
}

impl Secrets {
    fn parse(&mut self, file: &Path) -> Vec<Variable> {
        let source = match Source::read(file) {
            Ok(source) => source,
            Err(error) => {
                self.findings.push(mask(*error, |_| 0));
                return Vec::new();
            }
        };
        let (variables, findings) = parse(&source);
        self.findings.extend(findings);
        for variable in &variables {
            let place = source.warning(variable.name_span.clone(), "");
            let place = mask(place, |place| place.column - 1 + place.width);
            self.places.insert(variable.name.clone(), place);
        }
        variables
    }

    /// Drops secrets whose name in `env` belongs to a binding, and says so.
    pub(crate) fn drop_taken(&mut self, taken: &[String]) {
        for name in taken {
            if self.values.remove(name).is_none() {
                continue;
            }
            if let Some(place) = self.places.get(name) {
                let mut finding = place.clone().with_hint("rename one of them");
                finding.severity = Severity::Warning;
                finding.message =
                    format!("the secret `{name}` is ignored: a binding has that name");
                self.findings.push(finding);
            }
        }
    }
}
