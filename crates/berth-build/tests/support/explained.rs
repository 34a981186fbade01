//! `corpus/differences.json`: in what Berth's images differ from Docker's, and why.

use std::collections::BTreeMap;

use berth_conformance::{Difference, Facts, OTHER_CORPUS, compare, directory};
use serde::Deserialize;

/// What BuildKit puts into every line of a history that it writes.
const COMMENT: &str = "buildkit.dockerfile.v0";
const SUFFIX: &str = " # buildkit";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explained {
    /// Case → intended differences.
    intended: BTreeMap<String, Vec<Intended>>,
    /// Case that Docker refuses and Berth builds → why.
    builds_anyway: BTreeMap<String, String>,
    /// Case that Docker builds and Berth refuses → why.
    refuses: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Intended {
    at: String,
    #[serde(default)]
    docker: Option<String>,
    #[serde(default)]
    berth: Option<String>,
    why: String,
}

impl Explained {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let path = directory().join("differences.json");
        // A corpus from elsewhere may have none.
        if std::env::var_os(OTHER_CORPUS).is_some() && !path.exists() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Every explanation is of a case that exists, and says why.
    pub(crate) fn are_of(&self, cases: &[String]) -> Result<(), String> {
        let maps = [
            self.intended.keys().collect::<Vec<_>>(),
            self.builds_anyway.keys().collect(),
            self.refuses.keys().collect(),
        ];
        for name in maps.into_iter().flatten() {
            if !cases.contains(name) {
                return Err(format!("`{name}` is no case"));
            }
        }
        let reasons = self.intended.values().flatten().map(|one| &one.why);
        let mut all = reasons
            .chain(self.builds_anyway.values())
            .chain(self.refuses.values());
        if all.any(String::is_empty) {
            return Err("every difference has a reason".to_owned());
        }
        Ok(())
    }

    pub(crate) fn builds_anyway(&self, case: &str) -> bool {
        self.builds_anyway.contains_key(case)
    }

    pub(crate) fn refuses(&self, case: &str) -> bool {
        self.refuses.contains_key(case)
    }

    /// Fails with what is not explained, and with explanations of what is not so.
    pub(crate) fn check(&self, case: &str, docker: &Facts, berth: &Facts) -> Result<(), String> {
        let mut found = compare(&everywhere(docker), berth);
        let mut stale = Vec::new();
        for intended in self.intended.get(case).into_iter().flatten() {
            let same = |difference: &Difference| {
                difference.at == intended.at
                    && difference.docker == intended.docker
                    && difference.berth == intended.berth
            };
            match found.iter().position(same) {
                Some(at) => drop(found.remove(at)),
                None => stale.push(intended.at.as_str()),
            }
        }
        if found.is_empty() && stale.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        let mut text = lines.join("\n    ");
        if !stale.is_empty() {
            text += &format!("\n    explained, but not so: {}", stale.join(", "));
        }
        Err(format!("differs from Docker's image:\n    {text}"))
    }
}

/// What differs in every image, taken out of Docker's:
///
/// - Its history says that BuildKit wrote it.
/// - A step that changed nothing has a layer in Docker's images, and none in Berth's.
fn everywhere(docker: &Facts) -> Facts {
    let mut facts = docker.clone();
    let inherited = facts
        .history
        .iter()
        .position(|entry| entry.comment == COMMENT)
        .unwrap_or(facts.history.len());
    let base = usize::from(facts.on_base);
    let mut layer = 0;
    for (number, entry) in facts.history.iter_mut().enumerate() {
        if entry.comment == COMMENT {
            entry.comment.clear();
            if let Some(text) = entry.created_by.strip_suffix(SUFFIX) {
                entry.created_by = text.to_owned();
            }
        }
        if entry.empty_layer {
            continue;
        }
        if number >= inherited && layer >= base {
            entry.empty_layer = facts
                .layers
                .get(layer - base)
                .is_some_and(std::collections::BTreeMap::is_empty);
        }
        layer += 1;
    }
    facts.layers.retain(|layer| !layer.is_empty());
    facts
}
