//! The description of the API that is kept in `docs/`.

use std::collections::HashSet;

#[test]
fn the_description_that_is_kept_is_that_of_the_routes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let present = format!("{:#}\n", berth_api::openapi());
    assert!(
        kept == present,
        "docs/openapi.json is not what the routes say: `cargo xtask openapi` writes it"
    );
}

#[test]
fn every_operation_has_an_id_and_every_reference_a_target() {
    let document = berth_api::openapi();
    let mut ids = HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{method} {path}: `{id}` twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
        }
    }
    assert!(ids.len() > 40);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let (pointer, _) = reference.split_once('"').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
