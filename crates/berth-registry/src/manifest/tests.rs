use serde_json::{Value, json};

use super::*;
use crate::digest::Algorithm;

fn descriptor(media_type: &str, content: &str) -> Value {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer")],
    })
}

fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_IMAGE, "child")],
    })
}

fn with(mut value: Value, field: &str, set: Value) -> Value {
    value[field] = set;
    value
}

fn without(mut value: Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field);
    value
}

fn try_parse(value: &Value, content_type: Option<&str>) -> Result<Manifest, String> {
    parse(value.to_string().as_bytes(), content_type)
}

#[test]
fn images_and_indexes_are_understood() {
    let manifest = try_parse(&image(), Some(OCI_IMAGE)).unwrap();
    assert_eq!(manifest.image_size(), 7);
    assert_eq!(manifest.references().count(), 2);
    let manifest = try_parse(&index(), None).unwrap();
    assert_eq!((manifest.children.len(), manifest.blobs.len()), (1, 0));
    for (value, own, other) in [
        (image(), OCI_IMAGE, DOCKER_IMAGE),
        (index(), OCI_INDEX, DOCKER_LIST),
    ] {
        assert_eq!(
            try_parse(&without(value.clone(), "mediaType"), Some(own))
                .unwrap()
                .media_type,
            own
        );
        let docker = with(value, "mediaType", json!(other));
        let parameter = format!("{other}; charset=utf-8");
        assert_eq!(
            try_parse(&docker, Some(&parameter)).unwrap().media_type,
            other
        );
    }
}

/// CVE-2021-41190, and everything else that two clients could read in two ways.
#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let layers = json!([descriptor("x", "layer")]);
    let children = json!([descriptor(OCI_IMAGE, "child")]);
    let cases = [
        (
            with(image(), "manifests", children.clone()),
            Some(OCI_IMAGE),
        ),
        (with(image(), "manifests", json!([])), Some(OCI_IMAGE)),
        (with(index(), "layers", layers), Some(OCI_INDEX)),
        (
            with(index(), "config", descriptor("x", "{}")),
            Some(OCI_INDEX),
        ),
        (image(), Some(OCI_INDEX)),
        (index(), Some(OCI_IMAGE)),
        (image(), Some(DOCKER_IMAGE)),
        (without(image(), "mediaType"), Some(OCI_INDEX)),
        (without(index(), "mediaType"), Some(OCI_IMAGE)),
        (without(image(), "mediaType"), None),
        (with(image(), "fsLayers", json!([])), Some(OCI_IMAGE)),
        (with(image(), "schemaVersion", json!(1)), Some(OCI_IMAGE)),
        (
            with(image(), "mediaType", json!("application/json")),
            Some("application/json"),
        ),
        (without(image(), "config"), Some(OCI_IMAGE)),
        (without(image(), "layers"), Some(OCI_IMAGE)),
        (without(index(), "manifests"), Some(OCI_INDEX)),
    ];
    for (value, content_type) in cases {
        assert!(
            try_parse(&value, content_type).is_err(),
            "{value} {content_type:?}"
        );
    }
    let twice = image().to_string().replacen('{', r#"{"layers":[],"#, 1);
    assert!(
        parse(twice.as_bytes(), Some(OCI_IMAGE))
            .unwrap_err()
            .contains("duplicate")
    );
}

#[test]
fn nonsense_is_refused_with_a_sentence() {
    let deep = "[".repeat(100_000);
    let bomb = format!(r#"{{"schemaVersion":2,"annotations":{deep}"#);
    let many = json!(vec![descriptor("x", "layer"); MAX_DESCRIPTORS + 1]);
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\xff\xfe".to_vec(),
        deep.into_bytes(),
        bomb.into_bytes(),
    ];
    for value in [
        with(image(), "layers", many),
        with(image(), "layers", json!({})),
        with(image(), "layers", json!([null])),
        with(image(), "config", json!({"digest": "sha256:x", "size": 1})),
        with(
            image(),
            "config",
            json!({"digest": "../../etc/passwd", "size": 1}),
        ),
        with(image(), "annotations", json!({"a": {"b": 1}})),
        with(image(), "subject", json!({"digest": "md5:00", "size": 1})),
    ] {
        cases.push(value.to_string().into_bytes());
    }
    for size in ["-1", "1.5", "1e400", "18446744073709551616", "\"1\""] {
        let text = image()
            .to_string()
            .replace("\"size\":5", &format!("\"size\":{size}"));
        cases.push(text.into_bytes());
    }
    for case in cases {
        let problem = parse(&case, Some(OCI_IMAGE)).unwrap_err();
        assert!(!problem.is_empty() && problem.len() < 1000, "{problem}");
    }
}

#[test]
fn layers_with_other_places_may_be_missing() {
    let mut foreign = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "a",
    );
    let mut urls = descriptor("application/vnd.oci.image.layer.v1.tar", "b");
    urls["urls"] = json!(["https://example.com/b"]);
    foreign["urls"] = Value::Null;
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let manifest = with(
        image(),
        "layers",
        json!([foreign, urls, descriptor(kind, "c")]),
    );
    let manifest = try_parse(&manifest, Some(OCI_IMAGE)).unwrap();
    assert_eq!((manifest.optional.len(), manifest.blobs.len()), (3, 1));
}

#[test]
fn a_stored_manifest_comes_back_byte_for_byte() {
    let content = Bytes::from_static(b"{\n \"a\" : 1}\n\n");
    let stored = Stored {
        media_type: OCI_IMAGE.to_owned(),
        content: content.clone(),
    };
    let back = Stored::decode(&stored.encode()).unwrap();
    assert_eq!(
        (back.media_type.as_str(), back.content),
        (OCI_IMAGE, content)
    );
    assert!(Stored::decode(&Bytes::from_static(b"no line")).is_none());
    assert!(Stored::decode(&Bytes::from_static(b"no json\nx")).is_none());
}
