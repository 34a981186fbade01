//! The store as its users see it: in, out, names, layers made of writable directories.

use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::*;
use crate::tar_read::Kind;
use crate::testing::{Archive, Spec};

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn rootfs() -> Vec<u8> {
    Archive::new()
        .dir("./")
        .dir("./usr/")
        .dir("./usr/bin/")
        .symlink("./bin", "usr/bin")
        .add(&Spec {
            path: "./usr/bin/sh",
            mode: 0o4755,
            owner: (0, 7),
            mtime: (1_700_000_000, 123_456_789),
            xattrs: vec![(
                b"security.capability".to_vec(),
                b"\x01\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00"
                    .to_vec(),
            )],
            data: b"#!",
            ..Spec::default()
        })
        .hardlink("./usr/bin/dash", "./usr/bin/sh")
        .finish()
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let (_directory, store) = store();
    let tar = rootfs();
    let image = store.import_rootfs(tar.as_slice(), "debian:12").unwrap();

    assert_eq!(image.cmd(), ["/bin/sh"]);
    assert!(image.env()[0].starts_with("PATH="));
    assert_eq!(image.layers[0].diff_id, Digest::of(&tar));
    let blob = fs::read(store.blob_path(&image.layers[0].digest)).unwrap();
    assert_eq!(Digest::of(&blob), image.layers[0].digest);
    assert_eq!(zstd::decode_all(blob.as_slice()).unwrap(), tar);

    let tree = store.layer_path(&image.layers[0]);
    let shell = fs::metadata(tree.join("usr/bin/sh")).unwrap();
    assert_eq!(shell.mode() & 0o7777, 0o4755);
    assert_eq!((shell.uid(), shell.gid()), (0, 7));
    assert_eq!(
        (shell.mtime(), shell.mtime_nsec()),
        (1_700_000_000, 123_456_789)
    );
    assert_eq!(shell.nlink(), 2);
    assert!(
        xattr::get(tree.join("usr/bin/dash"), "security.capability")
            .unwrap()
            .is_some()
    );
    assert_eq!(
        fs::metadata(tree.join("usr")).unwrap().mtime(),
        1_000_000_000
    );

    for name in [
        "debian:12",
        "docker.io/library/debian:12",
        image.id.as_str(),
        image.id.short(),
        &format!("debian@{}", image.id),
    ] {
        assert_eq!(store.resolve(name).unwrap().unwrap().id, image.id, "{name}");
    }
    assert!(store.resolve("debian").unwrap().is_none());
    assert!(store.resolve("Debian").is_err());

    let list = store.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].name.as_str(), list[0].size), ("debian:12", 2));
}

#[test]
fn compressed_tars_give_the_same_layer_and_keep_their_blob() {
    let (_directory, store) = store();
    let tar = rootfs();
    let plain = store.import_rootfs(tar.as_slice(), "plain").unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let image = store.import_rootfs(gzip.as_slice(), "gzip").unwrap();
    assert_eq!(image.layers[0].diff_id, plain.layers[0].diff_id);
    assert_eq!(image.layers[0].digest, Digest::of(&gzip));
    assert!(image.layers[0].media_type.ends_with("+gzip"));
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let image = store.import_rootfs(zstd.as_slice(), "zstd").unwrap();
    assert_eq!(image.layers[0].diff_id, plain.layers[0].diff_id);
    assert_eq!(image.layers[0].digest, Digest::of(&zstd));
}

#[test]
fn nothing_is_left_of_a_failed_import() {
    let (_directory, store) = store();
    let mut tar = rootfs();
    tar.truncate(tar.len() - 1500);
    tar[700] ^= 1;
    let error = store.import_rootfs(tar.as_slice(), "bad").unwrap_err();
    assert!(matches!(error, ImageError::Unpack { .. }), "{error:?}");
    let root = store.root();
    for empty in [
        store.scratch_dir(),
        root.join("layers"),
        root.join("blobs/sha256"),
    ] {
        let left = fs::read_dir(&empty).unwrap().count();
        assert_eq!(left, 0, "{}", empty.display());
    }
    assert!(store.list().unwrap().is_empty());
}

/// What a container leaves in its writable directory becomes a layer whose tar, unpacked elsewhere,
/// is the same tree again.
#[test]
fn a_writable_directory_becomes_a_layer_without_a_copy() {
    let (directory, store) = store();
    let upper = store.scratch_dir().join("upper");
    fs::create_dir_all(upper.join("etc/opaque")).unwrap();
    fs::write(upper.join("etc/new"), "text").unwrap();
    fs::hard_link(upper.join("etc/new"), upper.join("etc/second")).unwrap();
    std::os::unix::fs::symlink("/etc/new", upper.join("link")).unwrap();
    std::os::unix::fs::chown(upper.join("etc/new"), Some(1000), Some(3_000_000)).unwrap();
    let long = format!("etc/{}", "ü".repeat(120));
    fs::write(upper.join(&long), "long").unwrap();
    xattr::set(upper.join("etc/opaque"), "trusted.overlay.opaque", b"y").unwrap();
    xattr::set(upper.join("etc"), "trusted.overlay.origin", b"x").unwrap();
    xattr::set(upper.join("etc/new"), "user.note", b"a\nb").unwrap();
    let mode = rustix::fs::Mode::empty();
    let gone = upper.join("gone");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &gone,
        rustix::fs::FileType::CharacterDevice,
        mode,
        0,
    )
    .unwrap();
    let inode = fs::metadata(upper.join("etc/new")).unwrap().ino();

    let layer = store.add_layer(&upper).unwrap().unwrap();
    assert!(!upper.exists());
    let tree = store.layer_path(&layer);
    assert_eq!(
        fs::metadata(tree.join("etc/new")).unwrap().ino(),
        inode,
        "moved, not copied"
    );

    // The blob alone, in another store, gives the same tree.
    assert!(
        !store.blob_path(&layer.digest).exists(),
        "not made until it is wanted"
    );
    let image = store
        .put_image_json(serde_json::json!({}), vec![layer.clone()])
        .unwrap();
    let packed = store.packed(&image, LayerCompression::Zstd).unwrap();
    let other = ImageStore::open(&directory.path().join("other")).unwrap();
    let blob = fs::read(store.blob_path(&packed.layers[0].digest)).unwrap();
    let image = other.import_rootfs(blob.as_slice(), "copy").unwrap();
    assert_eq!(image.layers[0].diff_id, layer.diff_id);
    let copy = other.layer_path(&image.layers[0]);
    let new = fs::metadata(copy.join("etc/second")).unwrap();
    assert_eq!((new.uid(), new.gid(), new.nlink()), (1000, 3_000_000, 2));
    assert_eq!(fs::read_to_string(copy.join(&long)).unwrap(), "long");
    assert_eq!(
        xattr::get(copy.join("etc/new"), "user.note")
            .unwrap()
            .unwrap(),
        b"a\nb"
    );
    let opaque = xattr::get(copy.join("etc/opaque"), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque.as_deref(), Some(b"y".as_slice()));
    assert_eq!(
        xattr::get(copy.join("etc"), "trusted.overlay.origin").unwrap(),
        None
    );
    let gone = fs::symlink_metadata(copy.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);

    // The same tree made a layer again is the same layer.
    let again = other.scratch_dir().join("again");
    fs::rename(&copy, &again).unwrap();
    let second = other.add_layer(&again).unwrap().unwrap();
    assert_eq!(second.diff_id, layer.diff_id);
    assert_eq!(second.digest, layer.digest);
}

fn made_here(store: &ImageStore, text: &str) -> Layer {
    let upper = store.scratch_dir().join("made");
    fs::create_dir(&upper).unwrap();
    let path = upper.join("file");
    fs::write(&path, text).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    store.add_layer(&upper).unwrap().unwrap()
}

#[test]
fn a_layer_that_was_made_here_is_compressed_when_it_is_wanted() {
    let (_directory, store) = store();
    let layer = made_here(&store, "x");
    let image = store
        .put_image_json(serde_json::json!({}), vec![layer.clone()])
        .unwrap();
    store.tag(&image, "made").unwrap();
    let packed = store.packed(&image, LayerCompression::Zstd).unwrap();
    assert_eq!(packed.id, image.id);
    assert_ne!(packed.manifest, image.manifest);
    let digest = &packed.layers[0].digest;
    let blob = fs::read(store.blob_path(digest)).unwrap();
    let tar = zstd::decode_all(blob.as_slice()).unwrap();
    assert_eq!(Digest::of(&tar), layer.diff_id);
    // The name leads to what can be sent, and the second time it is there.
    let found = store.resolve("made").unwrap().unwrap();
    assert_eq!(found.layers[0].digest, *digest);
    let before = fs::metadata(store.blob_path(digest)).unwrap().ino();
    let again = store.packed(&image, LayerCompression::Zstd).unwrap();
    assert_eq!(again.manifest, packed.manifest);
    assert_eq!(fs::metadata(store.blob_path(digest)).unwrap().ino(), before);

    // Another way of compressing gives another blob of the same layer, and the first one stays good.
    let gzip = store.packed(&found, LayerCompression::Gzip).unwrap();
    assert_eq!(
        (&gzip.id, &gzip.layers[0].diff_id),
        (&image.id, &layer.diff_id)
    );
    let blob = fs::read(store.blob_path(&gzip.layers[0].digest)).unwrap();
    assert_eq!(blob[..2], [0x1f, 0x8b]);
    let back = store.packed(&gzip, LayerCompression::Zstd).unwrap();
    assert_eq!(back.manifest, packed.manifest);
    for known in [&image, &packed, &gzip] {
        let name = format!("made@{}", known.manifest);
        assert_eq!(
            store.resolve(&name).unwrap().unwrap().id,
            image.id,
            "{name}"
        );
    }

    // A tree that somebody changed is not sent as what it was.
    let other = made_here(&store, "y");
    fs::write(store.layer_path(&other).join("file"), "z").unwrap();
    let image = store
        .put_image_json(serde_json::json!({}), vec![other])
        .unwrap();
    assert!(matches!(
        store.packed(&image, LayerCompression::Zstd),
        Err(ImageError::DigestMismatch { .. })
    ));
}

/// What was imported as a plain tar may give another tar when it is made of its tree: it is compressed
/// anew from its blob, also when the blob that it was stored with has been collected.
#[test]
fn an_imported_layer_is_recompressed_from_its_blob() {
    let (_directory, store) = store();
    let tar = Archive::new().file("file", "content").finish();
    let image = store.import_rootfs(tar.as_slice(), "imported").unwrap();
    let gzip = store.packed(&image, LayerCompression::Gzip).unwrap();
    let (first, second) = (&image.layers[0], &gzip.layers[0]);
    assert_eq!(second.diff_id, Digest::of(&tar));
    assert_ne!(first.digest, second.digest);
    let (first, second) = (first.clone().digest, second.clone().digest);
    drop((image, gzip));
    store.collect(&crate::Policy::default()).unwrap();
    assert!(!store.blob_path(&first).exists() && store.blob_path(&second).exists());
    // The layer is still known by what it is, and can be had in the first form again.
    let image = store.resolve("imported").unwrap().unwrap();
    let layer = store.layer(&Digest::of(&tar)).unwrap().unwrap();
    assert_eq!(layer.digest, second);
    let zstd = store.packed(&image, LayerCompression::Zstd).unwrap();
    assert_eq!(zstd.layers[0].digest, first);
    // One that came compressed stays as it came.
    let blob =
        zstd::encode_all(Archive::new().file("file", "other").finish().as_slice(), 3).unwrap();
    let image = store.import_rootfs(blob.as_slice(), "compressed").unwrap();
    let packed = store.packed(&image, LayerCompression::Gzip).unwrap();
    assert_eq!(packed.manifest, image.manifest);
    assert_eq!(packed.layers[0].digest, Digest::of(&blob));
}

/// An image on top of one that came with Docker's names is an OCI image throughout.
#[test]
fn layers_of_dockers_have_their_oci_names_in_an_image_of_ours() {
    let (_directory, store) = store();
    let tar = Archive::new().file("file", "content").finish();
    let base = store.import_rootfs(tar.as_slice(), "base").unwrap();
    let mut layer = base.layers[0].clone();
    layer.media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
    let image = store
        .put_image_json(serde_json::json!({}), vec![layer])
        .unwrap();
    let kind = &image.layers[0].media_type;
    assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+gzip");
}

/// An image that was asked for by its digest has that for its name: it stays as long as one with a tag.
#[test]
fn an_image_that_was_asked_for_by_digest_has_a_name() {
    let (_directory, store) = store();
    let layer = made_here(&store, "x");
    let made = store
        .put_image_json(serde_json::json!({}), vec![layer])
        .unwrap();
    let packed = store.packed(&made, LayerCompression::Gzip).unwrap();
    let (digest, manifest) = store.manifest(&packed).unwrap();
    let config = store.read_blob("config", &made.id).unwrap();
    let name = format!("[::1]:5000/app:ignored@{digest}").parse().unwrap();
    let image = store.receive_image(&manifest, &config, &[], &name).unwrap();
    let id = image.id.clone();
    drop((made, packed, image));
    let listed = format!("[::1]:5000/app@{digest}");
    for policy in [
        crate::Policy::default(),
        crate::Policy {
            garbage_only: true,
            ..crate::Policy::default()
        },
        crate::Policy {
            max_bytes: Some(1 << 30),
            ..crate::Policy::default()
        },
    ] {
        assert!(
            store.collect(&policy).unwrap().images.is_empty(),
            "{policy:?}"
        );
    }
    let image = store.resolve(&listed).unwrap().unwrap();
    assert_eq!(image.id, id);
    assert_eq!(store.list().unwrap()[0].name, listed);
    assert_eq!(store.repo_digests(&image).unwrap(), [listed.as_str()]);
    assert_eq!(store.usage().unwrap().images[0].names, [listed.as_str()]);
    // Names of both kinds stand for themselves.
    store.tag(&image, "app:1").unwrap();
    assert!(store.untag(&listed).unwrap());
    assert_eq!(store.list().unwrap()[0].name, "app:1");
    assert!(
        store.tag(&image, &listed).is_err(),
        "only a registry gives such a name"
    );
    assert!(store.untag("app:1").unwrap());
    drop(image);
    assert_eq!(
        store
            .collect(&crate::Policy::default())
            .unwrap()
            .images
            .len(),
        1
    );
}

#[test]
fn what_was_not_on_disk_when_the_machine_went_down_is_not_believed() {
    let (_directory, store) = store();
    let layer = made_here(&store, "x");
    let note = store.layer_dir(&layer.diff_id).join("unflushed");
    assert!(store.claim_layer(&layer).unwrap().is_some());
    for boot in ["another boot", ""] {
        fs::write(&note, boot).unwrap();
        assert!(store.claim_layer(&layer).unwrap().is_none(), "{boot:?}");
        assert!(store.layer(&layer.diff_id).unwrap().is_none());
    }
    // Made again it is there again, and once it is on disk the boot does not matter.
    assert_eq!(made_here(&store, "x").diff_id, layer.diff_id);
    store.settle().unwrap();
    assert!(!note.exists());
    assert!(store.claim_layer(&layer).unwrap().is_some());
}

/// As after a power cut soon after it was made: what is left of it is empty.
fn loses_power(store: &ImageStore, layer: &Layer) {
    let directory = store.layer_dir(&layer.diff_id);
    for name in ["unflushed", "layer.json"] {
        fs::write(directory.join(name), "").unwrap();
    }
    fs::remove_dir_all(directory.join("fs")).unwrap();
    fs::create_dir(directory.join("fs")).unwrap();
}

#[test]
fn an_image_that_a_power_cut_took_a_layer_of_is_in_nobodys_way() {
    let (_directory, store) = store();
    let build = |text: &str, name: &str| {
        let layers = vec![made_here(&store, text)];
        let image = store.put_image(ImageConfiguration::default(), layers);
        store.tag(image.as_ref().unwrap(), name).unwrap();
        image.unwrap()
    };
    build("whole", "whole:1");
    let lost = build("lost", "lost:1");
    loses_power(&store, &lost.layers[0]);
    // Whoever looks at all images sees the others.
    let mut found = Vec::new();
    for summary in store.list().unwrap() {
        found.push((
            store.resolve(&summary.name).unwrap().is_some(),
            summary.name,
        ));
    }
    let expected = [(false, "lost:1".to_owned()), (true, "whole:1".to_owned())];
    assert_eq!(found, expected);
    assert_eq!(store.usage().unwrap().images.len(), 2);
    assert_eq!(store.size(&lost).unwrap(), 0);
    let lost_layer = store.lost_layer("lost:1").unwrap();
    assert_eq!(lost_layer.as_ref(), Some(&lost.layers[0].digest));
    assert_eq!(store.lost_layer("whole:1").unwrap(), None);
    // Made again it is there again.
    assert_eq!(build("lost", "lost:1").id, lost.id);
    assert!(store.resolve("lost:1").unwrap().is_some());
    assert!(store.size(&lost).unwrap() > 0);
}

#[test]
fn an_image_that_comes_again_after_a_power_cut_is_as_it_comes() {
    let (_directory, store) = store();
    let image = store.put_image(ImageConfiguration::default(), vec![made_here(&store, "x")]);
    let image = image.unwrap();
    let [one, other] = [LayerCompression::Gzip, LayerCompression::Zstd]
        .map(|compression| store.packed(&image, compression).unwrap());
    let blob = fs::read(store.blob_path(&one.layers[0].digest)).unwrap();
    let (_, manifest) = store.manifest(&one).unwrap();
    let config = fs::read(store.blob_path(&image.id)).unwrap();
    loses_power(&store, &image.layers[0]);
    for packed in [&one, &other] {
        fs::remove_file(store.blob_path(&packed.layers[0].digest)).unwrap();
    }
    assert!(store.resolve(image.id.as_str()).unwrap().is_none());

    let incoming = IncomingLayer {
        digest: one.layers[0].digest.clone(),
        diff_id: one.layers[0].diff_id.clone(),
    };
    let layer = store.ingest_layer(&incoming, |_| Ok(blob.as_slice()));
    let _layer = layer.unwrap();
    let reference: Reference = "registry.test/x:1".parse().unwrap();
    store
        .receive_image(&manifest, &config, &[], &reference)
        .unwrap();
    let received = store.resolve("registry.test/x:1").unwrap().unwrap();
    assert_eq!(received.layers[0].digest, one.layers[0].digest);
    assert!(store.has_layer(&received.layers[0]));
}

#[test]
fn a_layer_that_was_made_here_comes_in_as_a_tar() {
    let (_directory, store) = store();
    let layer = made_here(&store, "x");
    let incoming = IncomingLayer {
        digest: layer.digest.clone(),
        diff_id: layer.diff_id.clone(),
    };
    let again = store.ingest_layer(&incoming, |_| -> std::io::Result<&[u8]> {
        panic!("it is here")
    });
    let again = again.unwrap();
    assert_eq!((again.size, &again.digest), (layer.size, &layer.digest));
}

#[test]
fn an_empty_writable_directory_is_no_layer() {
    let (_directory, store) = store();
    let upper = store.scratch_dir().join("upper");
    fs::create_dir(&upper).unwrap();
    assert!(store.add_layer(&upper).unwrap().is_none());
}

#[test]
fn redirected_directories_are_refused() {
    let (_directory, store) = store();
    let upper = store.scratch_dir().join("upper");
    fs::create_dir_all(upper.join("moved")).unwrap();
    xattr::set(upper.join("moved"), "trusted.overlay.redirect", b"/old").unwrap();
    let error = store.add_layer(&upper).unwrap_err();
    assert!(error.to_string().contains("moved"), "{error}");
}

#[test]
fn images_are_put_together_from_layers() {
    let (_directory, store) = store();
    let base = store.import_rootfs(rootfs().as_slice(), "base").unwrap();
    let upper = store.scratch_dir().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("app"), "1").unwrap();
    let layer = store.add_layer(&upper).unwrap().unwrap();
    let mut config = store.config_json(&base).unwrap();
    config["config"]["Healthcheck"] = serde_json::json!({ "Test": ["NONE"] });
    config["config"]["Labels"] = serde_json::json!({ "b": "2", "a": "1", "c": "3" });
    config["created"] = "2026-11-21T00:00:00Z".into();
    let layers = vec![base.layers[0].clone(), layer];
    let image = store
        .put_image_json(config.clone(), layers.clone())
        .unwrap();
    let again = store.put_image_json(config, layers).unwrap();
    assert_eq!(image.id, again.id);
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.labels()["b"], "2");
    let kept = store.config_json(&image).unwrap();
    assert_eq!(kept["config"]["Healthcheck"]["Test"][0], "NONE");

    store.tag(&image, "me/app:1").unwrap();
    assert_eq!(store.resolve("me/app:1").unwrap().unwrap().id, image.id);
    assert_eq!(store.list().unwrap()[1].created, 1_795_219_200);
    assert!(store.untag("me/app:1").unwrap());
    assert!(!store.untag("me/app:1").unwrap());
    assert_eq!(
        store.resolve(image.id.as_str()).unwrap().unwrap().id,
        image.id
    );
}

/// An image's documents that were damaged on disk are written anew when the image is made again.
#[test]
fn a_damaged_document_is_replaced_by_the_next_import() {
    let (_directory, store) = store();
    let tar = rootfs();
    let image = store.import_rootfs(tar.as_slice(), "debian:12").unwrap();
    let path = store.blob_path(&image.id);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(store.resolve("debian:12").is_err());
    store.import_rootfs(tar.as_slice(), "debian:12").unwrap();
    let again = store.resolve("debian:12").unwrap().unwrap();
    assert_eq!(again.layers, image.layers);
}

#[test]
fn a_lost_tree_is_unpacked_again() {
    let (_directory, store) = store();
    let base = store.import_rootfs(rootfs().as_slice(), "base").unwrap();
    fs::remove_dir_all(store.layer_path(&base.layers[0])).unwrap();
    let image = store.resolve("base").unwrap().unwrap();
    assert!(
        store
            .layer_path(&image.layers[0])
            .join("usr/bin/sh")
            .exists()
    );
}

/// Another opening of the store stands for another process: it has its own lease.
#[test]
fn leftovers_go_when_their_process_has_ended() {
    let (directory, store) = store();
    let root = directory.path().join("store");
    let other = ImageStore::open(&root).unwrap();
    let leftover = store.scratch_dir().join("leftover");
    fs::create_dir(&leftover).unwrap();
    drop(ImageStore::open(&root).unwrap());
    assert!(leftover.exists(), "it is in use");
    drop(store);
    drop(ImageStore::open(&root).unwrap());
    assert!(!leftover.exists());
    assert!(other.scratch_dir().exists(), "it is open");
    for empty in ["trash", "leases"] {
        let left = fs::read_dir(root.join(empty)).unwrap().count();
        assert_eq!(left, usize::from(empty == "leases"), "{empty}");
    }
}

/// Several threads, each with its own opening of the store, take in the same layer.
#[test]
fn one_layer_taken_in_at_the_same_time_is_there_once() {
    let (directory, store) = store();
    let root = directory.path().join("store");
    let tar = rootfs();
    let ids: Vec<Digest> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (tar, root) = (&tar, &root);
                scope.spawn(move || {
                    let store = ImageStore::open(root).unwrap();
                    store
                        .import_rootfs(tar.as_slice(), &format!("name-{number}"))
                        .unwrap()
                        .id
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(store.list().unwrap().len(), 8);
    assert_eq!(
        fs::read_dir(store.root().join("layers")).unwrap().count(),
        1
    );
    assert_eq!(fs::read_dir(store.scratch_dir()).unwrap().count(), 0);
}

#[test]
fn devices_and_fifos_are_kept() {
    let (_directory, store) = store();
    let tar = Archive::new()
        .add(&Spec {
            path: "dev/null",
            kind: Kind::CharDevice { major: 1, minor: 3 },
            mode: 0o666,
            ..Spec::default()
        })
        .add(&Spec {
            path: "dev/loop0",
            kind: Kind::BlockDevice { major: 7, minor: 0 },
            mode: 0o660,
            owner: (0, 6),
            ..Spec::default()
        })
        .add(&Spec {
            path: "run/pipe",
            kind: Kind::Fifo,
            mode: 0o1600,
            ..Spec::default()
        })
        .finish();
    let image = store.import_rootfs(tar.as_slice(), "devices").unwrap();
    let tree = store.layer_path(&image.layers[0]);
    let null = fs::symlink_metadata(tree.join("dev/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(
        (null.rdev(), null.mode() & 0o7777),
        (rustix::fs::makedev(1, 3), 0o666)
    );
    let block = fs::symlink_metadata(tree.join("dev/loop0")).unwrap();
    assert!(block.file_type().is_block_device());
    assert_eq!((block.gid(), block.mtime()), (6, 1_000_000_000));
    let pipe = fs::symlink_metadata(tree.join("run/pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!(pipe.mode() & 0o7777, 0o1600);
}

fn incoming(blob: &[u8], tar: &[u8]) -> IncomingLayer {
    IncomingLayer {
        digest: Digest::of(blob),
        diff_id: Digest::of(tar),
    }
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

/// A layer of a few hundred kilobytes that does not compress to nothing.
fn large() -> Vec<u8> {
    let text: String = (0..60_000u64)
        .map(|n| format!("{:x} ", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    Archive::new().file("large", &text).finish()
}

#[test]
fn an_image_comes_in_layer_by_layer() {
    let (_directory, store) = store();
    let tar = rootfs();
    let blob = gzip(&tar);
    let layer = store
        .ingest_layer(&incoming(&blob, &tar), |offset| {
            assert_eq!(offset, 0);
            Ok(blob.as_slice())
        })
        .unwrap();
    assert_eq!(layer.size, blob.len() as u64);
    let config = serde_json::json!({
        "os": "linux", "architecture": crate::archive::architecture(),
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
        "config": { "Cmd": ["x"] },
    })
    .to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": { "mediaType": "c", "digest": Digest::of(config.as_bytes()), "size": config.len() },
        "layers": [{ "mediaType": "l", "digest": layer.digest, "size": layer.size }],
    })
    .to_string();
    let digest = Digest::of(manifest.as_bytes());
    let add = |layers: &[Layer], config: &str| {
        store.add_image(&digest, manifest.as_bytes(), config.as_bytes(), layers, &[])
    };
    assert!(matches!(
        add(&[], &config),
        Err(ImageError::MissingBlob { .. })
    ));
    assert!(matches!(
        add(std::slice::from_ref(&layer), "{}"),
        Err(ImageError::DigestMismatch { .. })
    ));
    let image = add(std::slice::from_ref(&layer), &config).unwrap();
    assert_eq!((&image.manifest, image.cmd()[0].as_str()), (&digest, "x"));

    // It is here now, so it is not fetched.
    let again = store
        .ingest_layer(&incoming(&blob, &tar), |_| -> std::io::Result<&[u8]> {
            panic!("fetched again")
        })
        .unwrap();
    assert_eq!(again, layer);
    // Its tree is lost: it is unpacked from the blob.
    fs::remove_dir_all(store.layer_path(&layer)).unwrap();
    store
        .ingest_layer(&incoming(&blob, &tar), |_| -> std::io::Result<&[u8]> {
            panic!("fetched again")
        })
        .unwrap();
    assert!(store.layer_path(&layer).join("usr/bin/sh").exists());
}

/// Sends some bytes and then an error.
struct Broken<'a>(&'a [u8]);

impl std::io::Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn a_broken_connection_is_gone_on_with() {
    let (directory, store) = store();
    let tar = large();
    let blob = gzip(&tar);
    let wanted = incoming(&blob, &tar);
    let half = blob.len() / 2;
    let error = store
        .ingest_layer(&wanted, |_| Ok(Broken(&blob[..half])))
        .unwrap_err();
    assert!(matches!(error, ImageError::Unpack { .. }), "{error:?}");
    drop(store);
    // Another process goes on where this one was.
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    let mut offsets = Vec::new();
    let layer = store
        .ingest_layer(&wanted, |offset| {
            offsets.push(offset);
            Ok(&blob[usize::try_from(offset).unwrap()..])
        })
        .unwrap();
    assert_eq!(offsets, [half as u64]);
    assert_eq!(fs::read(store.blob_path(&layer.digest)).unwrap(), blob);
    let size = fs::metadata(store.layer_path(&layer).join("large")).unwrap();
    assert!(size.len() > 500_000);
    let left = fs::read_dir(store.root().join("partial")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_damaged_beginning_is_thrown_away() {
    let (_directory, store) = store();
    let tar = large();
    let blob = gzip(&tar);
    let wanted = incoming(&blob, &tar);
    let mut bad = blob[..blob.len() / 2].to_vec();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    store
        .ingest_layer(&wanted, |_| Ok(Broken(&bad)))
        .unwrap_err();
    let mut offsets = Vec::new();
    store
        .ingest_layer(&wanted, |offset| {
            offsets.push(offset);
            Ok(&blob[usize::try_from(offset).unwrap()..])
        })
        .unwrap();
    assert_eq!(offsets.last(), Some(&0));

    // What is wrong as a whole is refused, and nothing is kept of it.
    let (_directory, other) = self::store();
    let mut wrong = blob.clone();
    let last = wrong.len() - 5;
    wrong[last] ^= 1;
    other
        .ingest_layer(&wanted, |_| Ok(wrong.as_slice()))
        .unwrap_err();
    let liar = IncomingLayer {
        digest: Digest::of(&blob),
        diff_id: Digest::of(b"something else"),
    };
    let error = other
        .ingest_layer(&liar, |_| Ok(blob.as_slice()))
        .unwrap_err();
    assert!(
        matches!(error, ImageError::DigestMismatch { .. }),
        "{error:?}"
    );
    for empty in ["partial", "layers", "blobs/sha256"] {
        let left = fs::read_dir(other.root().join(empty)).unwrap().count();
        assert_eq!(left, 0, "{empty}");
    }
}

/// Eight openings of the store want the same layer at the same moment: one fetches it.
#[test]
fn a_layer_wanted_by_many_is_fetched_once() {
    let (directory, store) = store();
    let root = directory.path().join("store");
    let tar = large();
    let blob = gzip(&tar);
    let fetched = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = ImageStore::open(&root).unwrap();
                store
                    .ingest_layer(&incoming(&blob, &tar), |_| {
                        fetched.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        Ok(blob.as_slice())
                    })
                    .unwrap();
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
    let layers = fs::read_dir(store.root().join("layers")).unwrap().count();
    assert_eq!(layers, 1);
}

#[test]
fn a_finished_blob_is_moved_into_the_store() {
    let (_directory, store) = store();
    let tar = rootfs();
    let blob = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let mut file = tempfile::NamedTempFile::new_in(store.scratch_dir()).unwrap();
    file.write_all(&blob).unwrap();
    let inode = file.as_file().metadata().unwrap().ino();
    let layer = store.ingest_file(&incoming(&blob, &tar), file).unwrap();
    assert!(layer.media_type.ends_with("+zstd"));
    let kept = fs::metadata(store.blob_path(&layer.digest)).unwrap();
    assert_eq!((kept.ino(), kept.len()), (inode, layer.size));
    assert!(store.layer_path(&layer).join("usr/bin/sh").exists());
}

/// A gigabyte of zeros in a kilobyte or a megabyte: it is not written, and no memory is taken for it.
#[test]
fn bombs_are_stopped_at_the_limit() {
    use crate::unpack::UnpackLimits;
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(1 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let tar = || std::io::Read::chain(header.as_bytes().as_slice(), std::io::repeat(0));
    let tar = || std::io::Read::take(tar(), 512 + (1 << 26));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut tar(), &mut gzip).unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut tar(), &mut zstd).unwrap();
    for bomb in [gzip.finish().unwrap(), zstd.finish().unwrap()] {
        assert!(bomb.len() < 1 << 20);
        let (_directory, store) = store();
        for (limit, expected) in [(1 << 20, "unpacks to more than"), (2 << 30, "cannot be")] {
            let mut how = Ingest::new("a bomb".to_owned());
            how.limits = UnpackLimits {
                entries: 10,
                bytes: limit,
            };
            let error = store.ingest(bomb.as_slice(), &how).unwrap_err();
            let text = format!("{:?} {}", error, berth_error::chain(&error));
            assert!(text.contains(expected), "{text}");
        }
        let left = fs::read_dir(store.root().join("layers")).unwrap().count();
        assert_eq!(left, 0);
    }
}
