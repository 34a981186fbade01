//! What is compared of an image.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::LayerFacts;

/// Everything about an image that does not change when it is built again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Fields of the configuration but those below, the times and the digests.
    pub image: Map<String, Value>,
    /// `config`, without fields that are empty.
    pub config: Map<String, Value>,
    /// `history`.
    pub history: Vec<History>,
    /// Layers above those of the corpus's base image, which are not described.
    pub layers: Vec<LayerFacts>,
    /// Whether the lowest layer is the corpus's base image.
    pub on_base: bool,
}

/// One line of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The instruction.
    #[serde(default)]
    pub created_by: String,
    /// Says which program made the entry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// `MAINTAINER` and the like.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// It has no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// `docker.json`: facts, and who made the image that has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Golden {
    /// Versions of the programs.
    pub recorded_with: String,
    /// `None`: Docker refused to build it.
    #[serde(default)]
    pub facts: Option<Facts>,
    /// What Docker said when it refused: the error itself, without its surroundings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Facts {
    /// From an image's configuration and its layers, each with its diff id.
    ///
    /// # Errors
    /// The configuration's history is not one.
    pub fn new(
        configuration: &Value,
        layers: Vec<(String, LayerFacts)>,
        base_diff_id: &str,
    ) -> anyhow::Result<Self> {
        let on_base = layers.first().is_some_and(|(id, _)| id == base_diff_id);
        let mut image = Map::new();
        for (field, value) in configuration.as_object().into_iter().flatten() {
            let known = [
                "created",
                "rootfs",
                "history",
                "config",
                "moby.buildkit.buildinfo.v1",
            ];
            if !known.contains(&field.as_str()) && !is_empty(value) {
                image.insert(field.clone(), value.clone());
            }
        }
        image.sort_keys();
        let mut config = Map::new();
        for (field, value) in configuration["config"].as_object().into_iter().flatten() {
            if !is_empty(value) {
                config.insert(field.clone(), sorted(value.clone()));
            }
        }
        config.sort_keys();
        let history = match &configuration["history"] {
            Value::Null => Vec::new(),
            history => serde_json::from_value(history.clone())?,
        };
        Ok(Self {
            image,
            config,
            history,
            layers: layers
                .into_iter()
                .skip(usize::from(on_base))
                .map(|(_, facts)| facts)
                .collect(),
            on_base,
        })
    }
}

/// Go writes fields that are not set in several ways.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}
