//! Archives as skopeo, BuildKit and Docker write them, and hostile ones.

use std::path::Path;

use serde_json::{Value, json};

use crate::testing::Archive;
use crate::{Digest, ImageError, ImageStore};

struct Layout {
    directory: tempfile::TempDir,
}

impl Layout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        std::fs::write(
            directory.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn json_blob(&self, value: &Value, media_type: &str) -> Value {
        self.blob(value.to_string().as_bytes(), media_type)
    }

    /// A manifest for one gzip layer with one file.
    fn image(&self, architecture: &str, text: &str) -> Value {
        let tar = Archive::new().file("file", text).finish();
        let layer = gzip(&tar);
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": ["/file"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
        });
        let manifest = json!({
            "schemaVersion": 2,
            "config": self.json_blob(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(&layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
        });
        self.json_blob(&manifest, "application/vnd.oci.image.manifest.v1+json")
    }

    fn platform_image(&self, architecture: &str, text: &str) -> Value {
        let mut member = self.image(architecture, text);
        member["platform"] = json!({ "os": "linux", "architecture": architecture });
        member
    }

    fn index(&self, members: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": members });
        std::fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    fn as_tar(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        builder.append_dir_all(".", self.path()).unwrap();
        builder.finish().unwrap();
        file
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn here() -> &'static str {
    super::architecture()
}

#[test]
fn a_layout_is_imported_from_a_directory_and_from_a_tar() {
    let layout = Layout::new();
    let mut member = layout.image(here(), "text");
    member["annotations"] = json!({
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    });
    layout.index(&[member.clone()]);
    let tar = layout.as_tar();
    for path in [layout.path(), tar.path()] {
        let (_directory, store) = store();
        let images = store.import(path, None).unwrap();
        assert_eq!(images[0].cmd(), ["/file"]);
        let found = store.resolve("app:1").unwrap().unwrap();
        assert_eq!(found.id, images[0].id);
        let by_digest = format!("app@{}", member["digest"].as_str().unwrap());
        assert_eq!(store.resolve(&by_digest).unwrap().unwrap().id, found.id);
        let file = store.layer_path(&found.layers[0]).join("file");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "text");
        store.import_archive(path, Some("other/name:x")).unwrap();
        assert_eq!(store.resolve("other/name:x").unwrap().unwrap().id, found.id);
        assert_eq!(std::fs::read_dir(store.scratch_dir()).unwrap().count(), 0);
    }
}

#[test]
fn of_several_platforms_this_machines_is_taken() {
    let layout = Layout::new();
    let inner = json!({ "schemaVersion": 2, "manifests": [
        layout.platform_image("mips64le", "mips"),
        layout.platform_image(here(), "here"),
    ]});
    let media_type = "application/vnd.oci.image.index.v1+json";
    let inner = layout.json_blob(&inner, media_type);
    layout.index(std::slice::from_ref(&inner));
    let (_directory, store) = store();
    let images = store.import_archive(layout.path(), Some("app")).unwrap();
    let file = store.layer_path(&images[0].layers[0]).join("file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "here");
    let by_index = format!("app@{}", inner["digest"].as_str().unwrap());
    assert!(store.resolve(&by_index).unwrap().is_some());
}

#[test]
fn images_for_other_machines_are_refused() {
    let (_directory, store) = store();
    let layout = Layout::new();
    layout.index(&[layout.platform_image("mips64le", "mips")]);
    let error = store
        .import_archive(layout.path(), Some("app"))
        .unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error:?}");
    layout.index(&[layout.image("mips64le", "mips")]);
    let error = store
        .import_archive(layout.path(), Some("app"))
        .unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error:?}");
}

#[test]
fn damaged_and_deceiving_layouts_are_refused() {
    let change = |name: &str, change: &dyn Fn(&Layout, Value) -> Value, expected: &str| {
        let (_directory, store) = store();
        let layout = Layout::new();
        let member = layout.image(here(), "text");
        let member = change(&layout, member);
        layout.index(&[member]);
        let error = store
            .import_archive(layout.path(), Some("app"))
            .unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(text.contains(expected), "{name}: {text}");
        assert!(store.list().unwrap().is_empty(), "{name}");
        for empty in [store.scratch_dir(), store.root().join("layers")] {
            let left = std::fs::read_dir(&empty).unwrap().count();
            assert_eq!(left, 0, "{name}: {}", empty.display());
        }
    };
    let document = |layout: &Layout, member: &Value| -> Value {
        let digest: Digest = member["digest"].as_str().unwrap().parse().unwrap();
        let path = layout.path().join("blobs/sha256").join(digest.hex());
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let damage = |layout: &Layout, descriptor: &Value| {
        let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        let path = layout.path().join("blobs/sha256").join(digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    change(
        "manifest",
        &|layout, member| {
            damage(layout, &member);
            member
        },
        "has digest",
    );
    change(
        "configuration",
        &|layout, member| {
            damage(layout, &document(layout, &member)["config"]);
            member
        },
        "has digest",
    );
    change(
        "both manifest and index",
        &|layout, member| {
            let mut manifest = document(layout, &member);
            manifest["manifests"] = json!([]);
            layout.json_blob(&manifest, "application/vnd.oci.image.manifest.v1+json")
        },
        "manifest and an index",
    );
    change(
        "wrong diff id",
        &|layout, member| {
            let mut manifest = document(layout, &member);
            let mut config = document(layout, &manifest["config"]);
            config["rootfs"]["diff_ids"][0] = json!(Digest::of(b"other"));
            manifest["config"] = layout.json_blob(&config, "");
            layout.json_blob(&manifest, "")
        },
        "the uncompressed tar of layer",
    );
    change(
        "too few layers",
        &|layout, member| {
            let mut manifest = document(layout, &member);
            manifest["layers"] = json!([]);
            layout.json_blob(&manifest, "")
        },
        "has 0 layers",
    );
    change(
        "missing layer",
        &|layout, member| {
            let mut manifest = document(layout, &member);
            manifest["layers"][0]["digest"] = json!(Digest::of(b"missing"));
            layout.json_blob(&manifest, "")
        },
        "is missing",
    );
    change(
        "digest that is a path",
        &|layout, member| {
            let mut manifest = document(layout, &member);
            manifest["config"]["digest"] = json!("sha256:../../../../etc/passwd");
            layout.json_blob(&manifest, "")
        },
        "could not parse the image manifest",
    );
}

#[test]
fn a_blob_that_is_a_link_out_of_the_archive_is_not_followed() {
    let (_directory, store) = store();
    let canary = tempfile::NamedTempFile::new().unwrap();
    let layout = Layout::new();
    let manifest = json!({ "manifests": [] }).to_string();
    std::fs::write(canary.path(), &manifest).unwrap();
    std::os::unix::fs::symlink(canary.path(), layout.path().join("index.json")).unwrap();
    let error = store.import_archive(layout.path(), None).unwrap_err();
    assert!(matches!(error, ImageError::BadArchive { .. }), "{error:?}");
}

#[test]
fn what_docker_saved_is_imported_with_dockers_id() {
    let layer = Archive::new().dir("bin/").file("bin/sh", "text").finish();
    let config = json!({
        "architecture": here(),
        "os": "linux",
        "created": "2026-11-21T00:00:00.5Z",
        "config": { "Env": ["A=b"], "Healthcheck": { "Test": ["NONE"] } },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer), Digest::of(&layer)] },
    })
    .to_string();
    let id = Digest::of(config.as_bytes());
    let [one, two] = ["1", "2"].map(|digit| format!("{}/layer.tar", digit.repeat(64)));
    let manifest = json!([{
        "Config": format!("{}.json", id.hex()),
        "RepoTags": ["me/app:1", "app:latest"],
        "Layers": [one, two],
    }])
    .to_string();
    let archive = |config: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        add(&format!("{}.json", id.hex()), config.as_bytes());
        add(&one, &layer);
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let mut link = |builder: &mut tar::Builder<std::fs::File>| {
            builder
                .append_link(&mut header, &two, format!("../{one}"))
                .unwrap();
        };
        link(&mut builder);
        let mut header = tar::Header::new_ustar();
        header.set_size(manifest.len() as u64);
        builder
            .append_data(&mut header, "manifest.json", manifest.as_bytes())
            .unwrap();
        builder.finish().unwrap();
        file
    };
    let (_directory, store) = store();
    let good = archive(&config);
    let images = store.import(good.path(), None).unwrap();
    assert_eq!(images[0].id, id);
    assert_eq!(images[0].layers.len(), 2);
    assert_eq!(store.resolve("app").unwrap().unwrap().id, id);
    assert_eq!(store.resolve("me/app:1").unwrap().unwrap().env(), ["A=b"]);

    let bad = archive(&config.replace("A=b", "A=c"));
    let error = store.import_archive(bad.path(), None).unwrap_err();
    assert!(
        matches!(error, ImageError::DigestMismatch { .. }),
        "{error:?}"
    );
}

#[test]
fn a_root_file_system_needs_a_name() {
    let (_directory, store) = store();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        Archive::new().dir("./").file("etc/x", "").finish(),
    )
    .unwrap();
    assert!(store.import(file.path(), None).is_err());
    let images = store.import(file.path(), Some("base")).unwrap();
    assert_eq!(images.len(), 1);
    assert!(images[0].cmd().is_empty(), "there is no shell in it");
}

/// Layers of old archives are links to each other, and a name may be there twice.
#[test]
fn links_inside_an_archive_are_followed() {
    let layer = Archive::new().file("a", "1").finish();
    let config = json!({
        "os": "linux", "architecture": here(), "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer), Digest::of(&layer)] },
    })
    .to_string();
    let layer = String::from_utf8(layer).unwrap();
    let archive = |link: &str| {
        let manifest = json!([{
            "Config": "config.json", "RepoTags": ["app:1"], "Layers": ["one/layer.tar", "two/layer.tar"],
        }]);
        Archive::new()
            .file("config.json", &config)
            .file("one/layer.tar", "an older one")
            .file("one/layer.tar", &layer)
            .symlink("two/layer.tar", link)
            .file("manifest.json", &manifest.to_string())
            .finish()
    };
    let (directory, store) = store();
    let path = directory.path().join("saved.tar");
    std::fs::write(&path, archive("../one/layer.tar")).unwrap();
    let images = store.import_archive(&path, None).unwrap();
    assert_eq!(images[0].layers.len(), 2);
    assert_eq!(store.list().unwrap()[0].name, "app:1");
    for link in ["../../../etc/passwd", "layer.tar", "/two/layer.tar"] {
        let (_directory, store) = self::store();
        std::fs::write(&path, archive(link)).unwrap();
        let error = store.import_archive(&path, None).unwrap_err();
        let text = berth_error::chain(&error);
        assert!(text.contains("is missing"), "{link}: {text}");
    }
    // Cut off.
    let mut cut = archive("../one/layer.tar");
    cut.truncate(3000);
    std::fs::write(&path, cut).unwrap();
    assert!(store.import_archive(&path, None).is_err());
}
