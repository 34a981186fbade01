//! The description in OpenAPI's words.

use std::collections::HashMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{About, Body, Operation};

/// Without the version: the description changes with the routes only.
const VERSION: &str = "4";

pub(super) fn of(operations: &[Operation]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut ids = HashMap::new();
    // In order, so that the file changes only where the routes do.
    let mut sorted: Vec<&Operation> = operations.iter().collect();
    sorted.sort_by_key(|operation| (operation.path.clone(), operation.method.to_string()));
    let mut paths: Map<String, Value> = Map::new();
    for operation in sorted {
        let path = operation.path.replace("{*", "{");
        let methods = paths
            .entry(path)
            .or_insert_with(|| json!({"parameters": path_parameters(&operation.path)}));
        let method = operation.method.as_str().to_ascii_lowercase();
        methods[method] = describe(operation, &mut ids, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Envelope".to_owned(), envelope(true));
    schemas.insert("Failure".to_owned(), envelope(false));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "version": VERSION,
            "description": "The part of Cloudflare's v4 API that wrangler speaks, and what Berth adds to it. \
                            Written by `cargo xtask openapi` from the routes.",
        },
        "servers": [{"url": "http://127.0.0.1:8788/client/v4"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Done": answer("It is done", "Envelope"),
                "Refused": answer("It is refused, and nothing has changed", "Failure"),
            },
            "schemas": schemas,
        },
    })
}

fn answer(description: &str, schema: &str) -> Value {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn describe(
    operation: &Operation,
    ids: &mut HashMap<String, usize>,
    generator: &mut SchemaGenerator,
) -> Value {
    let About {
        summary,
        body,
        query,
        answers,
        open,
    } = &operation.about;
    let mut path = operation.handler.rsplit("::");
    let name = path.next().unwrap_or_default();
    let noun = path.next().unwrap_or_default();
    let id = format!("{noun}.{name}");
    // A handler that has more than one path.
    let count = ids.entry(id.clone()).or_insert(0);
    *count += 1;
    let id = if *count == 1 {
        id
    } else {
        format!("{id}-{count}")
    };
    let done = match answers {
        None => json!({"$ref": "#/components/responses/Done"}),
        Some(media_type) => json!({"description": "It is done", "content": {*media_type: {}}}),
    };
    let mut shown = json!({
        "operationId": id,
        "tags": [noun],
        "summary": summary,
        "responses": {
            "200": done,
            "default": {"$ref": "#/components/responses/Refused"},
        },
    });
    if *open {
        shown["security"] = json!([]);
    }
    let parameters: Vec<Value> = query
        .iter()
        .flat_map(|schema| query_parameters(schema(generator).as_value()))
        .collect();
    if !parameters.is_empty() {
        shown["parameters"] = parameters.into();
    }
    if let Some(content) = content(body, generator) {
        shown["requestBody"] = json!({"required": true, "content": content});
    }
    shown
}

fn content(body: &Body, generator: &mut SchemaGenerator) -> Option<Value> {
    Some(match body {
        Body::Nothing => return None,
        Body::Json(schema) => {
            json!({"application/json": {"schema": schema(generator)}})
        }
        Body::Form(parts, others) => {
            let mut schema = parts(generator).to_value();
            let text = json!({"type": "string"});
            schema["additionalProperties"] = if *others { text } else { json!(false) };
            json!({"multipart/form-data": {"schema": schema}})
        }
        Body::Bytes(media_type) => json!({*media_type: {}}),
    })
}

/// The parameters in a path, as axum writes them: `{name}`, `{*rest}`.
fn path_parameters(path: &str) -> Vec<Value> {
    let segments = path.split('/');
    let names = segments.filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.strip_prefix('*').unwrap_or(name))
    });
    let parameter = |name| {
        json!({
            "name": name, "in": "path", "required": true,
            "schema": {"type": "string", "minLength": 1},
        })
    };
    names.map(parameter).collect()
}

fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = schema["required"].as_array();
    let required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
    let Some(fields) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let parameter = |(name, schema): (&String, &Value)| json!({"name": name, "in": "query", "required": required(name), "schema": not_null(schema)});
    fields.iter().map(parameter).collect()
}

/// An `Option` of a query is there or not, never `null`.
fn not_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        let kind = fields.get("type").and_then(Value::as_array);
        let kind = kind.and_then(|kinds| kinds.iter().find(|kind| *kind != "null").cloned());
        if let Some(kind) = kind {
            fields.insert("type".to_owned(), kind);
        }
        fields.retain(|key, value| key != "default" || !value.is_null());
    }
    schema
}

fn envelope(success: bool) -> Value {
    let error = json!({
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    });
    let mut errors = json!({"type": "array", "items": error});
    if !success {
        errors["minItems"] = 1.into();
    }
    json!({
        "type": "object",
        "required": ["success", "errors", "messages", "result"],
        "properties": {
            "success": {"const": success},
            "errors": errors,
            "messages": {"type": "array"},
            "result": true,
            "result_info": {"type": "object"},
        },
    })
}
