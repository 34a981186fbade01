//! A registry in memory: what is right about its answers, so that a test changes only what it is about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use berth_image::Digest;

use crate::image::{OCI_MANIFEST, TestImage};
use crate::server::{Reply, Request};

/// What the registry has. Repositories are not told apart, but for `mounts`.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Vec<u8>>,
    /// Tag or digest → media type and bytes.
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    next: usize,
}

impl Fake {
    pub(crate) fn with(image: &TestImage, tag: &str) -> Self {
        let fake = Self::default();
        fake.add_blobs(image);
        fake.add_manifest(tag, OCI_MANIFEST, &image.manifest);
        fake
    }

    pub(crate) fn add_blobs(&self, image: &TestImage) {
        let mut state = self.state.lock().unwrap();
        state.blobs.extend(image.blobs.clone());
    }

    pub(crate) fn add_manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let value = (media_type.to_owned(), bytes.to_vec());
        let digest = Digest::of(bytes).to_string();
        state.manifests.insert(digest, value.clone());
        state.manifests.insert(tag.to_owned(), value);
    }

    pub(crate) fn manifest(&self, which: &str) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.manifests.get(which).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.blobs.get(digest.as_str()).cloned()
    }

    pub(crate) fn blob_count(&self) -> usize {
        self.state.lock().unwrap().blobs.len()
    }

    /// The right answer.
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        let path = request.path().to_owned();
        if path == "/v2/" {
            return Reply::new(200);
        }
        let last = path.rsplit('/').next().unwrap();
        let read = matches!(&*request.method, "GET" | "HEAD");
        if path.contains("/manifests/") {
            return if read {
                self.read_manifest(last)
            } else {
                self.put_manifest(last, request)
            };
        }
        if path.contains("/blobs/uploads/") {
            return self.upload(request, last);
        }
        if path.contains("/blobs/") && read {
            return self.read_blob(last, request);
        }
        Reply::new(404)
    }

    fn read_manifest(&self, which: &str) -> Reply {
        let state = self.state.lock().unwrap();
        match state.manifests.get(which) {
            Some((media_type, bytes)) => Reply::new(200)
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", Digest::of(bytes).to_string())
                .body(bytes.clone()),
            None => Reply::new(404),
        }
    }

    fn put_manifest(&self, which: &str, request: &Request) -> Reply {
        let kind = request.header("content-type").unwrap();
        self.add_manifest(which, kind, &request.body);
        Reply::new(201).header(
            "Docker-Content-Digest",
            Digest::of(&request.body).to_string(),
        )
    }

    fn read_blob(&self, digest: &str, request: &Request) -> Reply {
        let state = self.state.lock().unwrap();
        let Some(bytes) = state.blobs.get(digest) else {
            return Reply::new(404);
        };
        let start = request.header("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        match start {
            None => Reply::new(200).body(bytes.clone()),
            Some(start) => {
                let start: usize = start;
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206)
                    .header("Content-Range", range)
                    .body(bytes[start..].to_vec())
            }
        }
    }

    /// Parts that came before a connection broke are kept, as real registries do.
    fn upload(&self, request: &Request, id: &str) -> Reply {
        let mut state = self.state.lock().unwrap();
        if request.method == "POST" {
            if let Some(digest) = request.query("mount").first()
                && state.blobs.contains_key(digest)
            {
                return Reply::new(201).header("Location", format!("/v2/x/blobs/{digest}"));
            }
            state.next += 1;
            let id = format!("upload-{}", state.next);
            state.uploads.insert(id.clone(), Vec::new());
            return Reply::new(202).header("Location", location(&id));
        }
        let Some(data) = state.uploads.get_mut(id) else {
            return Reply::new(404);
        };
        if request.method == "DELETE" {
            state.uploads.remove(id);
            return Reply::new(204);
        }
        if request.method == "GET" {
            return Reply::new(204)
                .header("Location", location(id))
                .header("Range", range(data.len()));
        }
        if let Some(start) = request.header("content-range")
            && start.split('-').next() != Some(&data.len().to_string())
        {
            return Reply::new(416).header("Range", range(data.len()));
        }
        data.extend_from_slice(&request.body);
        if request.broken {
            return Reply::new(500);
        }
        if request.method == "PATCH" {
            return Reply::new(202)
                .header("Location", location(id))
                .header("Range", range(data.len()));
        }
        let wanted = request.query("digest").remove(0);
        let data = state.uploads.remove(id).unwrap();
        if Digest::of(&data).as_str() != wanted {
            let error = r#"{"errors":[{"code":"DIGEST_INVALID","message":"not that digest"}]}"#;
            return Reply::new(400).body(error);
        }
        state.blobs.insert(wanted, data);
        Reply::new(201)
    }
}

/// Relative and with a query, as registries are allowed to.
fn location(id: &str) -> String {
    format!("/v2/x/blobs/uploads/{id}?state=abc%3D")
}

fn range(length: usize) -> String {
    format!("0-{}", length.saturating_sub(1))
}
