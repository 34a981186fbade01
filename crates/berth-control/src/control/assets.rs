//! Uploads of static assets, and which files are needed.

use std::collections::{BTreeMap, HashSet};

use berth_store::StoreError;

use super::Control;
use crate::ControlError;
use crate::assets::session::{self, Announced, Claims, Session};
use crate::assets::{Asset, Assets, AssetsConfig, AssetsError, Manifest, NewAssets};
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
        self.inner.store.create(session::KIND, &id, &session)?;
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
            let found = self.inner.store.get::<Session>(session::KIND, &id)?;
            let mut record = found.ok_or(AssetsError::Token)?;
            record.value.present.extend(kept.clone());
            let store = &self.inner.store;
            match store.replace(session::KIND, &id, &record.value, record.revision) {
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
        for (_, record) in self.inner.store.list::<Session>(session::KIND)? {
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
        let found = self
            .inner
            .store
            .get::<Session>(session::KIND, &claims.sub)?;
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
        for (_, record) in self.inner.store.list::<Session>(session::KIND)? {
            if record.value.worker == worker {
                for asset in record.value.present.into_values() {
                    learn(asset);
                }
            }
        }
        Ok(known)
    }

    fn forget_sessions(&self) -> Result<(), ControlError> {
        for (id, record) in self.inner.store.list::<Session>(session::KIND)? {
            if record.value.is_forgotten() {
                match self.inner.store.delete(session::KIND, &id, record.revision) {
                    // Somebody else has deleted it.
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
