//! What is collected and what is not, with two openings of a store for two processes.

use std::time::{Duration, SystemTime};

use fs_err as fs;

use crate::testing::Archive;
use crate::{Digest, Image, ImageStore, Policy};

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn import(store: &ImageStore, name: &str, text: &str) -> Image {
    let tar = Archive::new().file("a", text).finish();
    store.import_rootfs(tar.as_slice(), name).unwrap()
}

fn plain() -> Policy {
    Policy::default()
}

fn all() -> Policy {
    Policy {
        all: true,
        ..Policy::default()
    }
}

fn has_tree(store: &ImageStore, image: &Image) -> bool {
    store.layer_path(&image.layers[0]).join("a").exists()
}

/// Makes an image look as if it had been used some days ago.
fn age(store: &ImageStore, id: &Digest, days: u64) {
    let file = fs::File::create(store.usage_path(id)).unwrap();
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    file.file().set_modified(then).unwrap();
}

#[test]
fn what_is_named_stays_and_what_has_no_name_goes() {
    let (_directory, store) = store();
    let base = import(&store, "base", "1").id;
    let other = import(&store, "other", "2").id;
    store.untag("other").unwrap();
    let would = store
        .collect(&Policy {
            dry_run: true,
            ..plain()
        })
        .unwrap();
    assert!(store.resolve(other.as_str()).unwrap().is_some());
    let collected = store.collect(&plain()).unwrap();
    assert_eq!(collected, would);
    assert_eq!(collected.images, [(other.clone(), Vec::new())]);
    assert_eq!((collected.layers, collected.blobs), (1, 3));
    assert!(store.resolve(other.as_str()).unwrap().is_none());
    let base = store.resolve(base.as_str()).unwrap().unwrap();
    assert!(has_tree(&store, &base));
    let nothing = store.collect(&plain()).unwrap();
    assert_eq!((nothing.images.len(), nothing.bytes), (0, 0));
    let left: Vec<_> = fs::read_dir(store.root().join("trash")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_another_process_holds_stays() {
    let (directory, store) = store();
    let root = directory.path().join("store");
    let other = ImageStore::open(&root).unwrap();
    let image = import(&other, "app:1", "1");
    let layer = image.layers[0].clone();
    assert!(other.remove("app:1").unwrap());

    // Held as an image: it is still found by its id.
    assert!(store.collect(&all()).unwrap().images.is_empty());
    assert!(store.resolve(image.id.as_str()).unwrap().is_some());
    assert!(has_tree(&store, &image));

    // Held as a layer, as in a build.
    let path = store.layer_path(&layer);
    drop(image);
    let claimed = other.claim_layer(&layer).unwrap().unwrap();
    drop(layer);
    let collected = store.collect(&all()).unwrap();
    assert_eq!((collected.images.len(), collected.layers), (1, 0));
    assert!(path.join("a").exists());
    assert!(store.blob_path(&claimed.digest).exists());

    // Not held: a record is not a hold.
    let record = serde_json::to_string(&claimed).unwrap();
    drop(claimed);
    let collected = store.collect(&all()).unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 1));
    assert!(!path.exists());
    let stale = serde_json::from_str(&record).unwrap();
    assert!(other.claim_layer(&stale).unwrap().is_none());
}

#[test]
fn a_pin_keeps_an_image_without_a_process() {
    let (directory, store) = store();
    let image = import(&store, "app:1", "1");
    let id = image.id.clone();
    store.pin("version 3 of `app`", &image).unwrap();
    store.pin("version 4 of `app`", &image).unwrap();
    let running = store.hold_for(&image, "container `one`").unwrap();
    assert_eq!(
        store.users(&image).unwrap(),
        [
            "container `one`",
            "version 3 of `app`",
            "version 4 of `app`"
        ]
    );
    drop(running);
    drop(image);
    drop(store);

    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    assert!(store.remove("app:1").unwrap());
    assert!(store.collect(&all()).unwrap().images.is_empty());
    assert!(store.unpin("version 3 of `app`").unwrap());
    assert!(!store.unpin("version 3 of `app`").unwrap());
    assert_eq!(store.pins().unwrap()[0].owner, "version 4 of `app`");
    assert!(store.collect(&all()).unwrap().images.is_empty());
    assert!(store.resolve(id.as_str()).unwrap().is_some());
    store.unpin_image(&id).unwrap();
    assert!(store.pins().unwrap().is_empty());
    assert_eq!(store.collect(&all()).unwrap().images.len(), 1);
}

/// A pin by itself keeps the content, also if the image was taken out of the index.
#[test]
fn a_pinned_image_removed_by_its_id_keeps_its_content() {
    let (_directory, store) = store();
    let image = import(&store, "app:1", "1");
    store.pin("kept", &image).unwrap();
    store.remove(image.id.as_str()).unwrap();
    let path = store.layer_path(&image.layers[0]);
    drop(image);
    store.collect(&all()).unwrap();
    assert!(path.join("a").exists());
}

/// A push gives an image another manifest. Who held it by the former one keeps the image.
#[test]
fn a_held_or_pinned_image_stays_when_it_is_packed() {
    let (directory, store) = store();
    let other = ImageStore::open(&directory.path().join("store")).unwrap();
    let tree = tempfile::tempdir_in(store.scratch_dir()).unwrap();
    fs::write(tree.path().join("a"), "1").unwrap();
    let layer = store.add_layer(tree.path()).unwrap().unwrap();
    let config = serde_json::json!({ "config": { "Cmd": ["x"] } });
    let image = store.put_image_json(config, vec![layer]).unwrap();
    let before = image.manifest.clone();
    let running = store.hold_for(&image, "container `x`").unwrap();
    drop(other.packed(&image, crate::LayerCompression::Gzip).unwrap());
    assert!(other.collect(&all()).unwrap().images.is_empty());
    store.tag(&image, "app:1").unwrap();
    let packed = store.resolve("app:1").unwrap().unwrap();
    assert_ne!(packed.manifest, before);
    // Who holds it by its former manifest is known by either.
    assert_eq!(other.users(&packed).unwrap(), ["container `x`"]);
    assert_eq!(other.users(&image).unwrap(), ["container `x`"]);
    drop(running);
    assert!(other.users(&packed).unwrap().is_empty());

    store.pin("kept", &image).unwrap();
    store.untag("app:1").unwrap();
    let id = image.id.clone();
    drop((image, packed));
    assert!(other.collect(&all()).unwrap().images.is_empty());
    assert!(other.resolve(id.as_str()).unwrap().is_some());
}

#[test]
fn all_means_named_images_too_and_until_means_old_ones() {
    let (_directory, store) = store();
    let old = import(&store, "old", "1").id;
    let new = import(&store, "new", "2").id;
    age(&store, &old, 3);
    let policy = |days: u64| Policy {
        unused_for: Some(Duration::from_secs(days * 24 * 3600)),
        ..all()
    };
    assert!(store.collect(&policy(4)).unwrap().images.is_empty());
    let collected = store.collect(&policy(2)).unwrap();
    assert_eq!(collected.images, [(old, vec!["old:latest".to_owned()])]);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(store.collect(&all()).unwrap().images[0].0, new);
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.usage().unwrap().bytes, 0);
}

#[test]
fn the_longest_unused_goes_first_to_make_room() {
    let (_directory, store) = store();
    let text = "x".repeat(100_000);
    let ids: Vec<Digest> = (0..4u64)
        .map(|number| {
            let id = import(&store, &format!("n{number}"), &format!("{text}{number}")).id;
            // The first is the newest.
            age(&store, &id, number + 1);
            id
        })
        .collect();
    // Oldest of all, but in use.
    let used = store.resolve("n3").unwrap().unwrap();
    let before = store.usage().unwrap();
    let policy = Policy {
        max_bytes: Some(before.bytes - 150_000),
        ..plain()
    };
    let collected = store.collect(&policy).unwrap();
    let gone: Vec<_> = collected.images.iter().map(|(id, _)| id).collect();
    let mut expected = vec![&ids[1], &ids[2]];
    expected.sort();
    assert_eq!(gone, expected);
    let after = store.usage().unwrap();
    assert_eq!(after.bytes, collected.left);
    assert_eq!(before.bytes - after.bytes, collected.bytes);
    assert!(after.bytes <= policy.max_bytes.unwrap());
    // Nothing more can go: that is no error.
    let nothing = Policy {
        max_bytes: Some(0),
        ..plain()
    };
    let collected = store.collect(&nothing).unwrap();
    assert_eq!(collected.images[0].0, ids[0]);
    assert!(has_tree(&store, &used));
    drop(used);
    store.collect(&nothing).unwrap();
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn a_build_cache_goes_with_all_or_to_make_room() {
    let (_directory, store) = store();
    let upper = store.scratch_dir().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("a"), "x".repeat(5000)).unwrap();
    let layer = store.add_layer(&upper).unwrap().unwrap();
    store.mark_cached(&layer).unwrap();
    let diff_id = layer.diff_id.clone();
    let path = store.layer_path(&layer);
    let mounted = store.cache_dir().join("build/mounts/m");
    fs::create_dir_all(&mounted).unwrap();
    fs::write(mounted.join("file"), "x".repeat(7000)).unwrap();
    let mount = store.hold_cache("build/mounts/m").unwrap();
    let usage = store.usage().unwrap();
    assert_eq!((usage.cached_layers, usage.cache_directories), (1, 1));
    assert!(usage.cache_bytes >= 12_000);
    assert_eq!(usage.reclaimable_cache_bytes, 0);

    let collected = store.collect(&all()).unwrap();
    assert_eq!(
        (collected.layers, collected.caches),
        (0, 0),
        "both are held"
    );
    drop((layer, mount));
    let collected = store.collect(&plain()).unwrap();
    assert_eq!(
        (collected.layers, collected.caches),
        (0, 0),
        "a cache stays"
    );
    let bytes = store.usage().unwrap().bytes;
    let room = Policy {
        max_bytes: Some(bytes - 1),
        ..plain()
    };
    let layer_time = fs::File::create(store.cached_marker(&diff_id)).unwrap();
    layer_time
        .file()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    let collected = store.collect(&room).unwrap();
    assert_eq!((collected.layers, collected.caches), (1, 0));
    assert!(!path.exists() && mounted.exists());
    let caches = Policy {
        caches: true,
        ..plain()
    };
    import(&store, "stays", "1");
    let collected = store.collect(&caches).unwrap();
    assert_eq!((collected.layers, collected.caches), (0, 1));
    assert!(!mounted.exists());
    assert!(store.resolve("stays").unwrap().is_some());
}

#[test]
fn what_images_share_stays_with_the_last_of_them() {
    let (_directory, store) = store();
    let base = import(&store, "base", "1");
    let config = serde_json::json!({ "config": { "Cmd": ["x"] } });
    let child = store.put_image_json(config, base.layers.clone()).unwrap();
    store.tag(&child, "child").unwrap();
    let usage = store.usage().unwrap();
    assert!(usage.images.iter().all(|image| image.in_use));
    assert!(usage.images[0].unique_bytes < usage.images[0].bytes);
    store.untag("base").unwrap();
    drop((base, child));
    let collected = store.collect(&plain()).unwrap();
    assert_eq!((collected.images.len(), collected.layers), (1, 0));
    let child = store.resolve("child").unwrap().unwrap();
    assert!(has_tree(&store, &child));
}
