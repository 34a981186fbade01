//! The store in this process.

use berth_r2::{
    Algorithm, Conditions, EtagMatch, Found, ListOptions, Metadata, NewUpload, Put, R2, R2Error,
    Range, Sums,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::support::{bytes, files};

fn body(bytes: &[u8]) -> berth_r2::Body {
    let pieces: Vec<_> = bytes
        .chunks(100_000)
        .map(|it| Ok(Bytes::copy_from_slice(it)))
        .collect();
    futures_util::stream::iter(pieces).boxed()
}

async fn read(store: &R2, key: &str, range: Range) -> Result<Vec<u8>, R2Error> {
    match store
        .get("bucket", key, Conditions::default(), range)
        .await?
    {
        Found::Whole(_, range, stream) => {
            let bytes = stream.try_collect::<Vec<_>>().await.unwrap().concat();
            assert_eq!(bytes.len() as u64, range.length);
            Ok(bytes)
        }
        Found::Unmet { .. } => panic!("no condition was set"),
    }
}

async fn new() -> (tempfile::TempDir, R2) {
    let directory = tempfile::tempdir().unwrap();
    let store = R2::open(directory.path()).unwrap();
    store
        .create_bucket("bucket", Default::default())
        .await
        .unwrap();
    (directory, store)
}

/// Until nobody is deleting any more.
async fn settle(directory: &std::path::Path, count: usize) {
    for _ in 0..500 {
        if files(&directory.join("blobs")) == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(files(&directory.join("blobs")), count);
}

#[tokio::test]
async fn objects_are_kept_read_in_part_and_replaced() {
    let (directory, store) = new().await;
    let content = bytes(1, 1_300_000);
    let put = Put {
        compute: vec![Algorithm::Sha256],
        ..Put::default()
    };
    let object = store
        .put("bucket", "a/b", put, body(&content))
        .await
        .unwrap();
    assert_eq!(object.size, 1_300_000);
    assert_eq!(object.sums.0.len(), 2);
    assert_eq!(read(&store, "a/b", Range::All).await.unwrap(), content);
    let part = Range::From {
        offset: 700_000,
        length: Some(10),
    };
    assert_eq!(
        read(&store, "a/b", part).await.unwrap(),
        content[700_000..700_010]
    );
    assert_eq!(
        read(&store, "a/b", Range::Last(3)).await.unwrap(),
        content[1_299_997..]
    );
    let outside = Range::From {
        offset: 1_300_000,
        length: None,
    };
    assert!(matches!(
        read(&store, "a/b", outside).await,
        Err(R2Error::Range { size: 1_300_000 })
    ));

    // A reader has what it began to read.
    let reading = store
        .get("bucket", "a/b", Conditions::default(), Range::All)
        .await
        .unwrap();
    let Found::Whole(_, _, stream) = reading else {
        panic!()
    };
    store
        .put("bucket", "a/b", Put::default(), body(b""))
        .await
        .unwrap();
    assert_eq!(read(&store, "a/b", Range::All).await.unwrap(), b"");
    assert_eq!(files(&directory.path().join("blobs")), 1);
    assert_eq!(
        stream.try_collect::<Vec<_>>().await.unwrap().concat(),
        content
    );
    settle(directory.path(), 0).await;

    // What is refused leaves nothing.
    let wrong = Sums([(Algorithm::Sha1, vec![0; 20])].into());
    let put = Put {
        expected: wrong,
        ..Put::default()
    };
    let refused = store.put("bucket", "c", put, body(&content)).await;
    assert!(matches!(
        refused,
        Err(R2Error::Digest {
            algorithm: Algorithm::Sha1,
            ..
        })
    ));
    let put = Put {
        size: Some(7),
        ..Put::default()
    };
    assert!(matches!(
        store.put("bucket", "c", put, body(b"six...")).await,
        Err(R2Error::Incomplete)
    ));
    let only_new = Conditions {
        etag_differs: Some(vec![EtagMatch::Any]),
        ..Conditions::default()
    };
    let put = Put {
        conditions: only_new,
        ..Put::default()
    };
    let refused = store
        .put("bucket", "a/b", put.clone(), body(&content))
        .await;
    assert!(matches!(refused, Err(R2Error::Precondition(Some(_)))));
    store.put("bucket", "c", put, body(b"new")).await.unwrap();
    let metadata = Metadata {
        custom: [("k".to_owned(), "v".repeat(9000))].into(),
        ..Metadata::default()
    };
    let put = Put {
        metadata,
        ..Put::default()
    };
    assert!(matches!(
        store.put("bucket", "d", put, body(b"")).await,
        Err(R2Error::MetadataTooLarge)
    ));
    assert!(matches!(
        store.put("bucket", "", Put::default(), body(b"")).await,
        Err(R2Error::Key)
    ));
    assert!(matches!(
        store.put("nobody", "d", Put::default(), body(b"")).await,
        Err(R2Error::NoSuchBucket(_))
    ));
    settle(directory.path(), 1).await;
    assert!(matches!(
        store.delete_bucket("bucket").await,
        Err(R2Error::BucketNotEmpty(_))
    ));
    store
        .delete(
            "bucket",
            vec!["c".to_owned(), "a/b".to_owned(), "nobody".to_owned()],
        )
        .await
        .unwrap();
    settle(directory.path(), 0).await;
    store.delete_bucket("bucket").await.unwrap();
}

#[tokio::test]
async fn copies_share_their_bytes_and_outlive_each_other() {
    let (directory, store) = new().await;
    store
        .put("bucket", "a", Put::default(), body(b"bytes"))
        .await
        .unwrap();
    let none = Conditions::default;
    store
        .copy(("bucket", "a"), ("bucket", "b"), none(), None)
        .await
        .unwrap();
    // To itself, too: only what is said of it is new.
    let metadata = Metadata {
        custom: [("k".to_owned(), "v".to_owned())].into(),
        ..Metadata::default()
    };
    let copied = store
        .copy(("bucket", "a"), ("bucket", "a"), none(), Some(metadata))
        .await
        .unwrap();
    assert_eq!(copied.metadata.custom["k"], "v");
    settle(directory.path(), 1).await;
    store.delete("bucket", vec!["a".to_owned()]).await.unwrap();
    assert_eq!(read(&store, "b", Range::All).await.unwrap(), b"bytes");
    store.delete("bucket", vec!["b".to_owned()]).await.unwrap();
    settle(directory.path(), 0).await;
}

#[tokio::test]
async fn parts_become_an_object_or_nothing() {
    let (directory, store) = new().await;
    let (first, last) = (bytes(2, 5 << 20), bytes(3, 1000));
    let crc = Some(Algorithm::Crc64Nvme);
    let upload = store
        .create_upload("bucket", "big", Metadata::default(), crc)
        .await
        .unwrap();
    let names = ("bucket", "big", upload.id.as_str());
    let put =
        |number, bytes: &[u8]| store.put_part(names, number, None, Sums::default(), body(bytes));
    let replaced = put(1, b"other").await.unwrap();
    let one = put(1, &first).await.unwrap();
    let two = put(7, &last).await.unwrap();
    let small = put(9, b"small").await.unwrap();
    assert!(matches!(put(0, b"").await, Err(R2Error::Argument(_))));
    let list = |parts: &[(u32, &str)]| NewUpload {
        parts: parts
            .iter()
            .map(|(number, etag)| (*number, (*etag).to_owned()))
            .collect(),
        ..NewUpload::default()
    };
    for (parts, code) in [
        (list(&[]), "InvalidArgument"),
        (list(&[(1, &replaced.etag), (7, &two.etag)]), "InvalidPart"),
        (list(&[(2, &one.etag)]), "InvalidPart"),
        (list(&[(7, &two.etag), (1, &one.etag)]), "InvalidPartOrder"),
        (
            list(&[(1, &one.etag), (7, &two.etag), (9, &small.etag)]),
            "EntityTooSmall",
        ),
    ] {
        let refused = store.complete_upload(names, parts).await.unwrap_err();
        assert_eq!(refused.s3_code(), code);
    }
    let (_, parts) = store.parts(names, 1, 10).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| part.number).collect::<Vec<_>>(),
        [7, 9]
    );
    assert_eq!(
        store.uploads("bucket", ("", ""), 10).await.unwrap().len(),
        1
    );
    assert!(store.head("bucket", "big").await.is_err());
    let object = store
        .complete_upload(names, list(&[(1, &one.etag), (7, &two.etag)]))
        .await
        .unwrap();
    assert!(object.etag.ends_with("-2"), "{}", object.etag);
    let whole = [first, last].concat();
    let put = Put {
        compute: vec![Algorithm::Crc64Nvme],
        ..Put::default()
    };
    let once = store
        .put("bucket", "once", put, body(&whole))
        .await
        .unwrap();
    assert_eq!(
        object.sums.get(Algorithm::Crc64Nvme),
        once.sums.get(Algorithm::Crc64Nvme)
    );
    assert_eq!(read(&store, "big", Range::All).await.unwrap(), whole);
    let across = Range::From {
        offset: (5 << 20) - 2,
        length: Some(4),
    };
    assert_eq!(
        read(&store, "big", across).await.unwrap(),
        whole[(5 << 20) - 2..(5 << 20) + 2]
    );
    assert!(matches!(
        store.complete_upload(names, list(&[])).await,
        Err(R2Error::NoSuchUpload)
    ));
    store.abort_upload(names).await.unwrap();
    settle(directory.path(), 3).await;

    // What is given up, or too old, goes.
    let upload = store
        .create_upload("bucket", "x", Metadata::default(), None)
        .await
        .unwrap();
    let names = ("bucket", "x", upload.id.as_str());
    store
        .put_part(names, 1, None, Sums::default(), body(b"x"))
        .await
        .unwrap();
    assert!(matches!(
        store.delete_bucket("bucket").await,
        Err(R2Error::BucketNotEmpty(_))
    ));
    store.expire_uploads(upload.created).await.unwrap();
    assert!(store.parts(names, 0, 10).await.is_ok());
    store.expire_uploads(upload.created + 1).await.unwrap();
    assert!(matches!(
        store.parts(names, 0, 10).await,
        Err(R2Error::NoSuchUpload)
    ));
    settle(directory.path(), 3).await;
}

#[tokio::test]
async fn a_later_process_finds_everything_and_sweeps_the_rest() {
    let (directory, store) = new().await;
    store
        .put("bucket", "a", Put::default(), body(b"bytes"))
        .await
        .unwrap();
    drop(store);
    let blobs = directory.path().join("blobs");
    let kept = std::fs::read_dir(&blobs).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        (!path.ends_with("new")).then(|| {
            std::fs::read_dir(path)
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path()
        })
    });
    let kept = kept.unwrap();
    // One that was never named, one that was never finished, one of another store.
    let name = kept.file_name().unwrap().to_str().unwrap();
    let orphan = format!(
        "{}{}",
        &name[..name.len() - 2],
        if name.ends_with("00") { "01" } else { "00" }
    );
    std::fs::create_dir_all(blobs.join(&orphan[orphan.len() - 2..])).unwrap();
    std::fs::write(blobs.join(&orphan[orphan.len() - 2..]).join(&orphan), "x").unwrap();
    std::fs::write(blobs.join("new/half"), "x").unwrap();
    std::fs::create_dir_all(blobs.join("zz")).unwrap();
    std::fs::write(blobs.join("zz/otherstore-zz"), "x").unwrap();
    let store = R2::open(directory.path()).unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(files(&blobs), 2);
    assert_eq!(read(&store, "a", Range::All).await.unwrap(), b"bytes");
    let page = store.list("bucket", ListOptions::default()).await.unwrap();
    assert_eq!(page.objects.len(), 1);
}

#[tokio::test]
async fn bytes_have_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let bucket = |prefix: &str| {
        berth_r2::Place::Bucket(berth_r2::BucketOptions {
            name: "bytes".to_owned(),
            prefix: prefix.to_owned(),
            endpoint: Some("http://127.0.0.1:9".to_owned()),
        })
    };
    // Nothing is there: it may be anywhere.
    R2::open_at(directory, &bucket("a")).unwrap();
    R2::open_at(directory, &bucket("b")).unwrap();
    let store = R2::open_at(directory, &berth_r2::Place::Directory).unwrap();
    store
        .create_bucket("bucket", Default::default())
        .await
        .unwrap();
    drop(store);
    // A bucket without objects has no bytes.
    drop(R2::open_at(directory, &bucket("b")).unwrap());
    let store = R2::open_at(directory, &berth_r2::Place::Directory).unwrap();
    store
        .put("bucket", "key", Put::default(), body(b"bytes"))
        .await
        .unwrap();
    drop(store);
    let refused = R2::open_at(directory, &bucket("b")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the bytes of R2's objects are in its own directory, not in the bucket `bytes` with the prefix `b`"
    );
    R2::open_at(directory, &berth_r2::Place::Directory).unwrap();
}

#[tokio::test]
async fn rules_of_time_are_obeyed() {
    let (directory, store) = new().await;
    for key in ["old/a", "old/b", "cold/c", "kept/d"] {
        store
            .put("bucket", key, Put::default(), body(b"bytes"))
            .await
            .unwrap();
    }
    let upload = store
        .create_upload("bucket", "old/parts", Metadata::default(), None)
        .await
        .unwrap();
    let other = store
        .create_upload("bucket", "kept/parts", Metadata::default(), None)
        .await
        .unwrap();
    let rules = serde_json::json!([
        {
            "id": "old", "enabled": true, "conditions": { "prefix": "old/" },
            "deleteObjectsTransition": { "condition": { "type": "Date", "date": "2020-01-01" } },
            "abortMultipartUploadsTransition": { "condition": { "type": "Age", "maxAge": 0 } },
        },
        {
            "id": "cold", "enabled": true, "conditions": { "prefix": "cold/" },
            "storageClassTransitions": [
                { "condition": { "type": "Age", "maxAge": 0 }, "storageClass": "InfrequentAccess" },
            ],
        },
        {
            "id": "later", "enabled": true, "conditions": {},
            "deleteObjectsTransition": { "condition": { "type": "Age", "maxAge": 86400 } },
        },
        {
            "id": "off", "enabled": false, "conditions": {},
            "deleteObjectsTransition": { "condition": { "type": "Age", "maxAge": 0 } },
        },
    ]);
    let rules: Vec<berth_r2::LifecycleRule> = serde_json::from_value(rules).unwrap();
    store.set_lifecycle("bucket", &rules).await.unwrap();
    assert_eq!(store.lifecycle("bucket").await.unwrap(), rules);
    store.obey_rules().await.unwrap();
    let listing = store.list("bucket", ListOptions::default()).await.unwrap();
    let left = listing.objects.iter();
    let left: Vec<_> = left
        .map(|object| (object.key.as_str(), object.metadata.class.word()))
        .collect();
    assert_eq!(
        left,
        [("cold/c", "InfrequentAccess"), ("kept/d", "Standard")]
    );
    settle(directory.path(), 2).await;
    let gone = store
        .parts(("bucket", "old/parts", &upload.id), 0, 10)
        .await;
    assert!(matches!(gone, Err(R2Error::NoSuchUpload)), "{gone:?}");
    store
        .parts(("bucket", "kept/parts", &other.id), 0, 10)
        .await
        .unwrap();
    // Of nothing that was deleted a rule is left.
    let none = store.set_lifecycle("nowhere", &rules).await;
    assert!(matches!(none, Err(R2Error::NoSuchBucket(_))), "{none:?}");
}
