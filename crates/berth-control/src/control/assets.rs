//! Uploads of static assets, and which files are needed.

use std::collections::{BTreeMap, HashSet};

use berth_store::StoreError;

use super::Control;
use crate::ControlError;
use crate::assets::{
    Announced, Asset, Assets, AssetsConfig, AssetsError, Claims, Manifest, NewAssets, SESSION_KIND,
    Session,
};
use crate::worker::{self, Version, Worker};

/// A session that has begun.
#[derive(Clone, Debug)]
pub struct AssetsSession {
    /// With which files are uploaded, or, if nothing is missing, a version takes them.
    pub token: String,
    /// Hashes of the files that are missing, in portions.
    pub buckets: Vec<Vec<String>>,
}

impl Control {
    /// Begins an upload of assets for a Worker, which there need not be yet.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn begin_assets(
        &self,
        worker: &str,
        announced: Announced,
    ) -> Result<AssetsSession, ControlError> {
        if !worker::is_name(worker) {
            return Err(ControlError::BadName(worker.to_owned()));
        }
        self.forget_sessions()?;
        // Nobody collects what is known here until the session is recorded.
        let _pending = self.pending();
        let known = self.known_assets(worker)?;
        let session = Session::new(worker, announced, &known)?;
        let id = uuid::Uuid::new_v4().to_string();
        self.inner.store.create(SESSION_KIND, &id, &session)?;
        Ok(AssetsSession {
            token: self.assets_token(&id, &session)?,
            buckets: session.buckets(),
        })
    }

    /// Whether a token is that of an upload of assets that is under way.
    ///
    /// # Errors
    /// The records.
    pub fn knows_assets_token(&self, token: &str) -> Result<bool, ControlError> {
        match self.session(token) {
            Ok(_) => Ok(true),
            Err(ControlError::Assets(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps files of a session, by hash, all or none; the token for a version when everything is there.
    ///
    /// # Errors
    /// [`AssetsError`]: the token, a file that is not wanted or not what was announced.
    pub fn put_assets(
        &self,
        token: &str,
        files: &[(String, Vec<u8>)],
    ) -> Result<Option<String>, ControlError> {
        let (id, session) = self.session(token)?;
        for (hash, bytes) in files {
            let announced = session.wanted(hash);
            let announced = announced.ok_or_else(|| AssetsError::Unwanted(hash.clone()))?;
            let size = bytes.len() as u64;
            if size != announced {
                let hash = hash.clone();
                return Err(AssetsError::Size {
                    hash,
                    size,
                    announced,
                }
                .into());
            }
        }
        let pins = self.pins();
        let mut kept = BTreeMap::new();
        for (hash, bytes) in files {
            let asset = Asset {
                hash: hash.clone(),
                digest: pins.put(bytes)?,
                size: bytes.len() as u64,
            };
            kept.insert(hash.clone(), asset);
        }
        let session = loop {
            let found = self.inner.store.get::<Session>(SESSION_KIND, &id)?;
            let mut record = found.ok_or(AssetsError::Token)?;
            record.value.present.extend(kept.clone());
            let store = &self.inner.store;
            match store.replace(SESSION_KIND, &id, &record.value, record.revision) {
                Ok(_) => break record.value,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let complete = session.is_complete();
        complete
            .then(|| self.assets_token(&id, &session))
            .transpose()
    }

    /// Which path is which file in a version.
    ///
    /// # Errors
    /// The disk.
    pub fn manifest(&self, assets: &Assets) -> Result<Manifest, ControlError> {
        let path = self.content().path(&assets.manifest);
        let bytes = fs_err::read(&path).map_err(crate::content::failed("read", &path))?;
        serde_json::from_slice(&bytes)
            .map_err(std::io::Error::from)
            .map_err(crate::content::failed("read", &path))
    }

    /// Digests of everything that assets of versions and of uploads need.
    pub(super) fn assets_in_use(
        &self,
        workers: &[Worker],
    ) -> Result<HashSet<String>, ControlError> {
        let mut wanted = HashSet::new();
        let versions = workers.iter().flat_map(|worker| &worker.versions);
        for assets in versions.filter_map(|version| version.assets.as_ref()) {
            if wanted.insert(assets.manifest.clone()) {
                let files = self.manifest(assets)?.files.into_values();
                wanted.extend(files.map(|asset| asset.digest));
            }
        }
        for (_, record) in self.inner.store.list::<Session>(SESSION_KIND)? {
            let present = record.value.present.into_values();
            wanted.extend(present.map(|asset| asset.digest));
        }
        Ok(wanted)
    }

    /// What an upload says of its assets, as a version keeps it. `Ok(None)`: those of the version before
    /// are meant. The digests stay as long as the pins.
    pub(super) fn take_assets(
        &self,
        worker: &str,
        new: &NewAssets,
        pins: &super::pins::Pins,
    ) -> Result<Option<Assets>, ControlError> {
        let config = new.config.clone().unwrap_or_default();
        config.check()?;
        let Some(token) = &new.jwt else {
            return Ok(None);
        };
        let (_, session) = self.session(token)?;
        if session.worker != worker {
            return Err(AssetsError::Token.into());
        }
        let manifest = session.manifest()?;
        for asset in manifest.files.values() {
            pins.hold(&asset.digest);
        }
        // Only maps whose keys are no strings cannot be written.
        let bytes = serde_json::to_vec(&manifest).map_err(std::io::Error::from);
        let path = self.content().path("manifest");
        let bytes = bytes.map_err(crate::content::failed("write", &path))?;
        Ok(Some(Assets {
            manifest: pins.put(&bytes)?,
            config: AssetsConfig {
                base_path: None,
                ..config
            },
        }))
    }

    fn assets_token(&self, id: &str, session: &Session) -> Result<String, ControlError> {
        let claims = Claims {
            sub: id.to_owned(),
            complete: session.is_complete(),
            exp: session.expires,
        };
        Ok(claims.token(&self.inner.key)?)
    }

    fn session(&self, token: &str) -> Result<(String, Session), ControlError> {
        let claims = Claims::read(token, &self.inner.key).ok_or(AssetsError::Token)?;
        let found = self.inner.store.get::<Session>(SESSION_KIND, &claims.sub)?;
        let session = found.map(|record| record.value);
        match session {
            Some(session) if !session.is_over() => Ok((claims.sub, session)),
            _ => Err(AssetsError::Token.into()),
        }
    }

    /// Files that versions and uploads of a Worker have, by what a client knows of them.
    fn known_assets(&self, worker: &str) -> Result<BTreeMap<(String, u64), Asset>, ControlError> {
        let mut known = BTreeMap::new();
        let mut learn = |asset: Asset| known.insert((asset.hash.clone(), asset.size), asset);
        let versions: Vec<Version> = match self.worker(worker) {
            Ok(worker) => worker.versions,
            Err(ControlError::NoWorker(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut seen = HashSet::new();
        for assets in versions
            .iter()
            .filter_map(|version| version.assets.as_ref())
        {
            if seen.insert(&assets.manifest) {
                for asset in self.manifest(assets)?.files.into_values() {
                    learn(asset);
                }
            }
        }
        for (_, record) in self.inner.store.list::<Session>(SESSION_KIND)? {
            if record.value.worker == worker {
                for asset in record.value.present.into_values() {
                    learn(asset);
                }
            }
        }
        Ok(known)
    }

    fn forget_sessions(&self) -> Result<(), ControlError> {
        for (id, record) in self.inner.store.list::<Session>(SESSION_KIND)? {
            if record.value.is_forgotten() {
                match self.inner.store.delete(SESSION_KIND, &id, record.revision) {
                    // Somebody else has deleted it.
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::assets::AnnouncedFile;
    use crate::upload::{Part, Upload, UploadError};

    const ONE: &str = "11111111111111111111111111111111";
    const TWO: &str = "22222222222222222222222222222222";

    fn control() -> (tempfile::TempDir, Control) {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let control = Control::open(&data.join("control"), &data.join("key")).unwrap();
        (directory, control)
    }

    fn announced(hash: &str, size: u64) -> Announced {
        let hash = hash.to_owned();
        Announced::from([("/page.html".to_owned(), AnnouncedFile { hash, size })])
    }

    fn upload(metadata: &serde_json::Value) -> Result<Upload, UploadError> {
        let part = Part {
            name: "index.js".to_owned(),
            content_type: "application/javascript+module".to_owned(),
            bytes: b"export default {}".to_vec(),
        };
        let main = metadata.get("main_module").is_some();
        let parts = main.then_some(part).into_iter().collect();
        Upload::parse(metadata.to_string().as_bytes(), parts)
    }

    fn deploy(control: &Control, metadata: &serde_json::Value) -> Result<Worker, ControlError> {
        let new = control.prepare("app", "me", upload(metadata)?)?;
        new.commit(true)
    }

    fn page(control: &Control, worker: &Worker) -> Option<Vec<u8>> {
        let manifest = control.manifest(worker.live()?.assets.as_ref()?).unwrap();
        let path = control.content().path(&manifest.files["page.html"].digest);
        fs_err::read(path).ok()
    }

    #[test]
    fn files_come_once_and_stay_with_their_version() {
        let (_directory, control) = control();
        let begun = control.begin_assets("app", announced(ONE, 3)).unwrap();
        assert_eq!(begun.buckets, [[ONE]]);
        assert!(control.knows_assets_token(&begun.token).unwrap());
        assert!(!control.knows_assets_token("a.b.c").unwrap());
        let early = deploy(&control, &json!({"assets": {"jwt": begun.token}})).unwrap_err();
        assert!(matches!(
            early,
            ControlError::Assets(AssetsError::Missing(1))
        ));
        for (hash, bytes) in [(ONE, "four"), (TWO, "two")] {
            let file = [(hash.to_owned(), bytes.as_bytes().to_vec())];
            assert!(control.put_assets(&begun.token, &file).is_err());
        }
        let file = [(ONE.to_owned(), b"one".to_vec())];
        let token = control.put_assets(&begun.token, &file).unwrap().unwrap();
        let worker = deploy(&control, &json!({"assets": {"jwt": token}})).unwrap();
        assert_eq!(page(&control, &worker).unwrap(), b"one");

        // The same again needs no file; what it belongs to is another Worker's not.
        let again = control.begin_assets("app", announced(ONE, 3)).unwrap();
        assert!(again.buckets.is_empty());
        let other = control.begin_assets("other", announced(ONE, 3)).unwrap();
        assert_eq!(other.buckets.len(), 1);
        let foreign = control.prepare("other", "me", {
            upload(&json!({"assets": {"jwt": again.token}})).unwrap()
        });
        assert!(matches!(
            foreign.unwrap_err(),
            ControlError::Assets(AssetsError::Token)
        ));
    }

    #[test]
    fn assets_are_kept_only_if_that_is_said() {
        let (_directory, control) = control();
        let begun = control.begin_assets("app", announced(ONE, 3)).unwrap();
        let file = [(ONE.to_owned(), b"one".to_vec())];
        let jwt = control.put_assets(&begun.token, &file).unwrap().unwrap();
        let code =
            json!({"main_module": "index.js", "bindings": [{"name": "A", "type": "assets"}]});
        let with = |extra: serde_json::Value| {
            let mut metadata = code.clone();
            let extra = extra.as_object().unwrap().clone();
            metadata.as_object_mut().unwrap().extend(extra);
            metadata
        };
        let nothing = deploy(&control, &with(json!({"assets": {"config": {}}}))).unwrap_err();
        assert!(nothing.to_string().contains("no `jwt`"), "{nothing}");
        deploy(&control, &with(json!({"assets": {"jwt": jwt}}))).unwrap();
        let kept = deploy(&control, &with(json!({"keep_assets": true}))).unwrap();
        assert_eq!(page(&control, &kept).unwrap(), b"one");
        let config = json!({"assets": {"config": {"_headers": "x"}}});
        let kept = deploy(&control, &with(config)).unwrap();
        let assets = kept.live().unwrap().assets.clone().unwrap();
        assert_eq!(assets.config.headers.as_deref(), Some("x"));
        let gone = deploy(&control, &json!({"main_module": "index.js"})).unwrap();
        assert_eq!(gone.live().unwrap().assets, None);
        assert!(deploy(&control, &code).is_err(), "a binding for nothing");
    }

    #[test]
    fn what_only_code_can_use_is_refused_without_any() {
        for metadata in [
            json!({"assets": {}, "bindings": [{"name": "A", "type": "assets"}]}),
            json!({"assets": {"config": {"run_worker_first": true}}}),
            json!({"assets": {}, "containers": [{"class_name": "A"}]}),
        ] {
            let error = upload(&metadata).unwrap_err();
            assert!(matches!(error, UploadError::OnlyAssets), "{metadata}");
        }
        let (_directory, control) = control();
        for config in [
            json!({"base_path": "/docs"}),
            json!({"run_worker_first": ["api"]}),
        ] {
            let metadata = json!({"main_module": "index.js", "assets": {"config": config}});
            let error = deploy(&control, &metadata).unwrap_err();
            assert!(matches!(
                error,
                ControlError::Assets(AssetsError::Config(_))
            ));
        }
        let unknown = json!({"assets": {"config": {"html_handling": "fancy"}}});
        assert!(upload(&unknown).unwrap_err().to_string().contains("fancy"));
    }
}
