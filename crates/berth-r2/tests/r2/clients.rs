//! An S3 client that is somebody else's: object_store.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{
    Attribute, Attributes, Error, GetOptions, MultipartUpload as _, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use crate::support::{Server, bytes, client, provider};

async fn server() -> (tempfile::TempDir, Server) {
    provider();
    let directory = tempfile::tempdir().unwrap();
    {
        let store = berth_r2::R2::open(directory.path()).unwrap();
        for name in ["bucket", "private"] {
            store.create_bucket(name, Default::default()).await.unwrap();
        }
    }
    let server = Server::start(directory.path(), None, None);
    (directory, server)
}

fn payload(bytes: &[u8]) -> PutPayload {
    PutPayload::from_bytes(Bytes::copy_from_slice(bytes))
}

#[tokio::test]
async fn objects_conditions_ranges_and_lists() {
    let (_directory, server) = server().await;
    let client = server.client("writer", "bucket");
    let key = Path::from("dir/a b+ü");
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "text/plain"),
        (Attribute::CacheControl, "max-age=5"),
        (Attribute::Metadata("own".into()), "word"),
    ]);
    let options = PutOptions {
        attributes: attributes.clone(),
        ..PutOptions::default()
    };
    let put = client
        .put_opts(&key, payload(b"hello world"), options)
        .await
        .unwrap();
    let found = client.get(&key).await.unwrap();
    assert_eq!(found.attributes, attributes);
    assert_eq!(found.bytes().await.unwrap(), "hello world");
    assert_eq!(client.get_range(&key, 6..11).await.unwrap(), "world");
    let head = client.head(&key).await.unwrap();
    assert_eq!(
        (head.size, head.e_tag.as_deref()),
        (11, put.e_tag.as_deref())
    );

    let unless = GetOptions {
        if_none_match: put.e_tag.clone(),
        ..GetOptions::default()
    };
    assert!(matches!(
        client.get_opts(&key, unless).await,
        Err(Error::NotModified { .. })
    ));
    let only = GetOptions {
        if_match: Some("\"other\"".to_owned()),
        ..GetOptions::default()
    };
    assert!(matches!(
        client.get_opts(&key, only).await,
        Err(Error::Precondition { .. })
    ));
    let create = PutOptions::from(PutMode::Create);
    assert!(matches!(
        client.put_opts(&key, payload(b"x"), create).await,
        Err(Error::AlreadyExists { .. })
    ));
    let stale = UpdateVersion {
        e_tag: Some("\"0\"".to_owned()),
        version: None,
    };
    let stale = PutOptions::from(PutMode::Update(stale));
    assert!(matches!(
        client.put_opts(&key, payload(b"x"), stale).await,
        Err(Error::Precondition { .. })
    ));
    let update = UpdateVersion {
        e_tag: put.e_tag,
        version: None,
    };
    client
        .put_opts(
            &key,
            payload(b"new"),
            PutOptions::from(PutMode::Update(update)),
        )
        .await
        .unwrap();

    client
        .copy(&key, &Path::from("dir/sub/copy"))
        .await
        .unwrap();
    assert!(matches!(
        client.get(&Path::from("none")).await,
        Err(Error::NotFound { .. })
    ));
    let mut listed: Vec<String> = client
        .list(None)
        .map_ok(|found| found.location.to_string())
        .try_collect()
        .await
        .unwrap();
    listed.sort();
    assert_eq!(listed, [key.to_string(), "dir/sub/copy".to_owned()]);
    let level = client
        .list_with_delimiter(Some(&Path::from("dir")))
        .await
        .unwrap();
    assert_eq!(
        (level.objects.len(), level.common_prefixes),
        (1, vec![Path::from("dir/sub")])
    );
    let all = client.list(None).map_ok(|found| found.location).boxed();
    let deleted = client
        .delete_stream(all)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(deleted.len(), 2);
    assert_eq!(client.list(None).count().await, 0);
}

#[tokio::test]
async fn a_large_object_is_in_nobody_s_memory() {
    let (_directory, server) = server().await;
    let client = server.client("writer", "bucket");
    let key = Path::from("large");
    let part = bytes(7, 8 << 20);
    let mut upload = client.put_multipart(&key).await.unwrap();
    let before = server.most_memory();
    for _ in 0..12 {
        upload.put_part(payload(&part)).await.unwrap();
    }
    upload.complete().await.unwrap();
    let stream = client.get(&key).await.unwrap().into_stream();
    let length = stream.try_fold(0, |sum, piece| async move { Ok(sum + piece.len()) });
    assert_eq!(length.await.unwrap(), 12 * part.len());
    // A single request of as much.
    let once = Path::from("once");
    let url = client.signed_url(http::Method::PUT, &once, Duration::from_secs(60));
    let url = url.await.unwrap();
    let pieces = (0..12).map(move |_| Ok::<_, std::io::Error>(part.clone()));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let sent = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .put(url);
    let sent = sent
        .header("content-length", 12 * (8 << 20))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(
        client.head(&Path::from("once")).await.unwrap().size,
        12 * (8 << 20)
    );
    let grown = server.most_memory().saturating_sub(before);
    assert!(
        grown < 48 << 20,
        "{} MiB for objects of 96 MiB",
        grown >> 20
    );
}

#[tokio::test]
async fn signatures_and_permissions() {
    let (_directory, server) = server().await;
    let writer = server.client("writer", "bucket");
    let key = Path::from("key");
    writer.put(&key, payload(b"secret")).await.unwrap();

    // An address that is signed is as good as its signer.
    let web = reqwest::Client::builder().no_proxy().build().unwrap();
    let signed = server.client("reader", "bucket");
    let url = signed
        .signed_url(http::Method::GET, &key, Duration::from_secs(60))
        .await
        .unwrap();
    let answer = web.get(url.clone()).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.text().await.unwrap().as_str()
        ),
        (200, "secret")
    );
    let other = url.as_str().replace("/key?", "/yek?");
    assert_eq!(web.get(other).send().await.unwrap().status(), 403);
    assert_eq!(web.delete(url).send().await.unwrap().status(), 403);
    let unsigned = web
        .get(format!("http://{}/bucket/key", server.address))
        .send()
        .await
        .unwrap();
    assert_eq!(unsigned.status(), 403);
    assert!(
        unsigned
            .text()
            .await
            .unwrap()
            .contains("<Code>AccessDenied</Code>")
    );

    let told = |outcome: Result<_, Error>| outcome.map(drop).unwrap_err().to_string();
    let nobody = server.client("nobody", "bucket");
    assert!(told(nobody.head(&key).await).contains("403"));
    let endpoint = format!("http://{}", server.address);
    let wrong = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name("bucket")
        .with_access_key_id("writer")
        .with_secret_access_key("wrong")
        .build()
        .unwrap();
    let refused = wrong.get(&key).await.map(drop).unwrap_err();
    assert!(
        format!("{refused:?}").contains("SignatureDoesNotMatch"),
        "{refused:?}"
    );
    let reader = server.client("reader", "bucket");
    assert!(reader.get(&key).await.is_ok());
    assert!(reader.put(&key, payload(b"x")).await.is_err());
    assert!(reader.delete(&key).await.is_err());
    for key in ["reader", "writer"] {
        let client = server.client(key, "private");
        assert_eq!(
            client
                .list(None)
                .filter(|found| std::future::ready(found.is_ok()))
                .count()
                .await,
            0
        );
        assert!(client.put(&Path::from("x"), payload(b"x")).await.is_err());
    }
    assert!(
        client(&endpoint, "admin", "private")
            .put(&Path::from("x"), payload(b"x"))
            .await
            .is_ok()
    );
}
