//! Comparing two images.

use serde_json::{Map, Value};

use crate::{Facts, LayerFacts, merge};

/// Something in which two images differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `config.Env`, `history.2.created_by`, `tree.etc/passwd`, `layers.1.etc/passwd`.
    pub at: String,
    /// What Docker's image has; `None` if nothing.
    pub docker: Option<String>,
    /// What Berth's has.
    pub berth: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "(nothing)".to_owned());
        write!(
            f,
            "{}\n      docker: {}\n      berth:  {}",
            self.at,
            text(&self.docker),
            text(&self.berth)
        )
    }
}

/// Everything in which two images differ. Layers are compared one by one only if there are equally
/// many and the trees that they make together are the same.
pub fn compare(docker: &Facts, berth: &Facts) -> Vec<Difference> {
    let mut found = Vec::new();
    fields("image", &docker.image, &berth.image, &mut found);
    fields("config", &docker.config, &berth.config, &mut found);
    if docker.on_base != berth.on_base {
        found.push(Difference {
            at: "base".to_owned(),
            docker: Some(docker.on_base.to_string()),
            berth: Some(berth.on_base.to_string()),
        });
    }
    history(docker, berth, &mut found);
    let before = found.len();
    lines(
        "tree",
        &merge(&docker.layers),
        &merge(&berth.layers),
        &mut found,
    );
    if docker.layers.len() != berth.layers.len() {
        found.push(Difference {
            at: "layers".to_owned(),
            docker: Some(docker.layers.len().to_string()),
            berth: Some(berth.layers.len().to_string()),
        });
    } else if found.len() == before {
        for (number, (docker, berth)) in docker.layers.iter().zip(&berth.layers).enumerate() {
            lines(&format!("layers.{number}"), docker, berth, &mut found);
        }
    }
    found
}

fn fields(
    at: &str,
    docker: &Map<String, Value>,
    berth: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let mut names: Vec<&String> = docker.keys().chain(berth.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (docker, berth) = (docker.get(name), berth.get(name));
        if docker != berth {
            found.push(Difference {
                at: format!("{at}.{name}"),
                docker: docker.map(Value::to_string),
                berth: berth.map(Value::to_string),
            });
        }
    }
}

fn history(docker: &Facts, berth: &Facts, found: &mut Vec<Difference>) {
    let length = docker.history.len().max(berth.history.len());
    for number in 0..length {
        let text = |facts: &Facts| {
            facts.history.get(number).map(|entry| {
                let mut text = entry.created_by.clone();
                for (name, value) in [("comment", &entry.comment), ("author", &entry.author)] {
                    if !value.is_empty() {
                        text += &format!(" [{name}: {value}]");
                    }
                }
                if entry.empty_layer {
                    text += " [no layer]";
                }
                text
            })
        };
        let (docker, berth) = (text(docker), text(berth));
        if docker != berth {
            found.push(Difference {
                at: format!("history.{number}"),
                docker,
                berth,
            });
        }
    }
}

fn lines(at: &str, docker: &LayerFacts, berth: &LayerFacts, found: &mut Vec<Difference>) {
    let mut paths: Vec<&String> = docker.keys().chain(berth.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let (docker, berth) = (docker.get(path), berth.get(path));
        if docker != berth {
            found.push(Difference {
                at: format!("{at}.{path}"),
                docker: docker.cloned(),
                berth: berth.cloned(),
            });
        }
    }
}
