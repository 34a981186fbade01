//! Discovery: tags, repositories, referrers, mounting.

use serde_json::{Value, json};

use crate::support::{IMAGE, INDEX, Image, Server, descriptor, sha256};

/// Follows the pages of a list.
async fn pages(server: &Server, first: &str, field: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        let answer = server.get(&path).await.expect(200);
        let names = match &answer.json()[field] {
            Value::Array(names) => names
                .iter()
                .map(|n| n.as_str().unwrap().to_owned())
                .collect(),
            Value::Object(names) => names.keys().cloned().collect(),
            other => panic!("{other}"),
        };
        pages.push(names);
        next = answer.has("link").then(|| {
            let link = answer.header("link");
            assert!(link.ends_with(">; rel=\"next\""), "{link}");
            link[1..link.len() - ">; rel=\"next\"".len()].to_owned()
        });
    }
    pages
}

#[tokio::test]
async fn tags_come_in_order_and_in_pages() {
    let server = Server::start(json!({}));
    server
        .get("/v2/a/tags/list")
        .await
        .error(404, "NAME_UNKNOWN");
    let manifest = server.push_image("a", "b", b"layer").await;
    for tag in ["a", "c", "1.0", "A", "_x"] {
        server.push_manifest("a", tag, &manifest).await.expect(201);
    }
    let all = ["1.0", "A", "_x", "a", "b", "c"];
    let answer = server.get("/v2/a/tags/list").await.expect(200).json();
    assert_eq!(answer, json!({"name": "a", "tags": all}));
    for n in 1..8 {
        let found = pages(&server, &format!("/v2/a/tags/list?n={n}"), "tags").await;
        assert!(found.iter().all(|page| page.len() <= n));
        assert_eq!(found.concat(), all, "{n}");
    }
    for (query, expected) in [
        ("n=0", &all[..0]),
        ("last=b", &all[5..]),
        ("last=c", &all[..0]),
        ("last=aa&n=1", &all[4..5]),
        ("n=99999999999999999999999", &all[..]),
    ] {
        let answer = server
            .get(&format!("/v2/a/tags/list?{query}"))
            .await
            .expect(200)
            .json();
        assert_eq!(answer["tags"], json!(expected), "{query}");
    }
    for n in ["-1", "x", "1.5", ""] {
        let answer = server.get(&format!("/v2/a/tags/list?n={n}")).await;
        answer.error(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[tokio::test]
async fn repositories_come_as_a_list_and_as_wranglers_map() {
    let server = Server::start(json!({}));
    for name in ["x/b", "x/a", "x-y", "z"] {
        server.push_image(name, "1", b"layer").await;
    }
    server.push_image("x/a", "2", b"other").await;
    // A repository that only has blobs is not shown, nor one without tags as a map.
    server.push_blob("blobs", b"blob").await;
    let image = Image::new(b"layer");
    image.push_blobs(&server, "untagged").await;
    let digest = image.digest().to_string();
    server
        .push_manifest("untagged", &digest, &image.manifest)
        .await
        .expect(201);
    let names = ["untagged", "x-y", "x/a", "x/b", "z"];
    for n in 1..7 {
        let path = format!("/v2/_catalog?n={n}");
        assert_eq!(
            pages(&server, &path, "repositories").await.concat(),
            names,
            "{n}"
        );
    }
    let map = server
        .get("/v2/_catalog?tags=true")
        .await
        .expect(200)
        .json();
    let expected = json!({"x-y": ["1"], "x/a": ["1", "2"], "x/b": ["1"], "z": ["1"]});
    assert_eq!(map["repositories"], expected);
    let found = pages(&server, "/v2/_catalog?tags=true&n=2", "repositories").await;
    assert_eq!(found, [vec!["x-y", "x/a"], vec!["x/b", "z"]]);
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_go_with_their_manifest() {
    let server = Server::start(json!({}));
    let subject = Image::new(b"subject");
    let path = format!("/v2/a/referrers/{}", subject.digest());
    let none = server.get(&path).await.expect(200);
    assert_eq!(
        (
            none.header("content-type").as_str(),
            &none.json()["manifests"]
        ),
        (INDEX, &json!([]))
    );
    // They may come before their subject.
    server.push_blob("a", b"{}").await;
    let mut digests = Vec::new();
    for kind in ["application/sbom", "application/signature"] {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [],
            "annotations": {"made": kind},
            "subject": descriptor(IMAGE, subject.manifest.to_string().as_bytes()),
        });
        let digest = sha256(manifest.to_string().as_bytes()).to_string();
        let answer = server
            .push_manifest("a", &digest, &manifest)
            .await
            .expect(201);
        assert_eq!(answer.header("oci-subject"), subject.digest().to_string());
        digests.push(digest);
    }
    subject.push_blobs(&server, "a").await;
    server
        .push_manifest("a", "x", &subject.manifest)
        .await
        .expect(201);
    let all = server.get(&path).await.expect(200);
    assert!(!all.has("oci-filters-applied"));
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let one = server
        .get(&format!("{path}?artifactType=application%2Fsbom"))
        .await
        .expect(200);
    assert_eq!(one.header("oci-filters-applied"), "artifactType");
    let found = &one.json()["manifests"][0];
    assert_eq!(found["digest"], digests[0].as_str());
    assert_eq!(found["artifactType"], "application/sbom");
    assert_eq!(found["annotations"]["made"], "application/sbom");
    let paged = server.get(&format!("{path}?n=1")).await.expect(200);
    assert_eq!(paged.json()["manifests"].as_array().unwrap().len(), 1);
    assert!(paged.has("link"));
    let gone = format!("/v2/a/manifests/{}", digests[0]);
    server.send("DELETE", &gone, "").await.expect(202);
    let rest = server.get(&path).await.expect(200).json();
    assert_eq!(rest["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is() {
    let server = Server::start(json!({}));
    let digest = server.push_blob("from/here", b"blob").await;
    let missing = sha256(b"missing");
    for (query, mounted) in [
        (format!("mount={digest}&from=from/here"), true),
        (format!("mount={digest}&from=from%2Fhere"), true),
        (format!("mount={digest}"), true),
        (format!("mount={digest}&from=not/here"), false),
        (format!("mount={missing}&from=from/here"), false),
        (format!("mount={missing}"), false),
    ] {
        let to = format!("to/{}", sha256(query.as_bytes()).hex());
        let answer = server
            .send("POST", &format!("/v2/{to}/blobs/uploads/?{query}"), "")
            .await;
        let answer = answer.expect(if mounted { 201 } else { 202 });
        let location = answer.header("location");
        assert_eq!(location.contains("/uploads/"), !mounted, "{query}");
        let blob = server.get(&format!("/v2/{to}/blobs/{digest}")).await;
        assert_eq!(blob.status.is_success(), mounted, "{query}");
    }
    let bad = format!("/v2/to/blobs/uploads/?mount={digest}&from=../x");
    server
        .send("POST", &bad, "")
        .await
        .error(400, "NAME_INVALID");
    let bad = "/v2/to/blobs/uploads/?mount=sha256:x";
    server
        .send("POST", bad, "")
        .await
        .error(400, "DIGEST_INVALID");
}
