use serde_json::json;

use super::*;

fn descriptor(kind: &str) -> Value {
    json!({ "mediaType": kind, "digest": Digest::of(b"x"), "size": 1 })
}

fn parse(document: &Value, content_type: &str) -> Result<Document, Unusable> {
    Document::parse(document.to_string().as_bytes(), content_type)
}

fn manifest_json(kind: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(OCI_CONFIG),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
    })
}

#[test]
fn manifests_and_indexes_are_told_apart() {
    for kind in [OCI_MANIFEST, DOCKER_MANIFEST] {
        for said in [kind, "", "application/json; charset=utf-8"] {
            let parsed = parse(&manifest_json(kind), said).unwrap();
            assert!(matches!(parsed, Document::Manifest(manifest) if manifest.media_type == kind));
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)] });
    assert!(matches!(parse(&index, OCI_INDEX), Ok(Document::Index(_))));
    assert!(matches!(parse(&index, ""), Ok(Document::Index(_))));
}

#[test]
fn a_document_is_one_thing_only() {
    let mut both = manifest_json(OCI_MANIFEST);
    both["manifests"] = json!([descriptor(OCI_MANIFEST)]);
    for said in [OCI_MANIFEST, "", OCI_INDEX] {
        assert!(
            matches!(parse(&both, said), Err(Unusable::Broken(_))),
            "{said}"
        );
    }
    // What the registry says and what the document says.
    assert!(matches!(
        parse(&manifest_json(OCI_MANIFEST), OCI_INDEX),
        Err(Unusable::Broken(_))
    ));
    let mut nameless = manifest_json(OCI_MANIFEST);
    nameless.as_object_mut().unwrap().remove("mediaType");
    assert!(matches!(
        parse(&nameless, OCI_INDEX),
        Err(Unusable::Broken(_))
    ));
    assert!(matches!(parse(&nameless, ""), Ok(Document::Manifest(_))));
    let mut old = manifest_json(OCI_MANIFEST);
    old["fsLayers"] = json!([]);
    assert!(matches!(parse(&old, ""), Err(Unusable::Broken(_))));
}

#[test]
fn what_is_no_image_is_named() {
    let mut chart = manifest_json(OCI_MANIFEST);
    chart["config"] = descriptor("application/vnd.cncf.helm.config.v1+json");
    let Err(Unusable::NotAnImage(kind)) = parse(&chart, "") else {
        panic!("a chart is no image");
    };
    assert_eq!(kind, "application/vnd.cncf.helm.config.v1+json");
    let other = manifest_json("application/vnd.example.thing+json");
    assert!(matches!(parse(&other, ""), Err(Unusable::NotAnImage(_))));
    assert!(matches!(parse(&json!([]), ""), Err(Unusable::Broken(_))));
    assert!(matches!(
        parse(&json!({"schemaVersion": 1}), ""),
        Err(Unusable::Broken(_))
    ));
}

#[test]
fn layers_are_known_by_their_media_type() {
    use LayerKind::{Foreign, Tar, Unknown};
    for (media_type, kind) in [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Tar),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Tar),
        ("application/vnd.oci.image.layer.v1.tar", Tar),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Tar),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Foreign,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            Foreign,
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            Unknown,
        ),
        ("application/vnd.in-toto+json", Unknown),
        ("application/octet-stream", Unknown),
    ] {
        assert_eq!(layer_kind(media_type), kind, "{media_type}");
    }
}
