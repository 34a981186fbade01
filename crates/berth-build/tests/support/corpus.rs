//! What the corpus's tests share: one store with the base images, one zygote, and the list of
//! explained differences.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "support of tests")]

mod explained;

use std::collections::BTreeMap;
use std::sync::Mutex;

use berth_build::{BuildHost, BuildRequest, HostFuture, Secret, build};
use berth_conformance::{Case, Facts, Golden, base, directory, images, lay_out, read_layer};
use berth_image::{Image, ImageStore, LayerCompression};
use berth_jail::{OnDisconnect, Zygote, ZygoteConfig};
use tokio::runtime::Runtime;

pub(crate) use explained::Explained;

/// Facts of Docker's image of a case.
pub(crate) fn golden(case: &Case) -> anyhow::Result<Golden> {
    let bytes = std::fs::read(case.golden()).map_err(|error| {
        anyhow::anyhow!(
            "no facts of Docker ({error}): cargo xtask conformance docker {}",
            case.name
        )
    })?;
    Ok(serde_json::from_slice(&bytes)?)
}

pub(crate) struct World {
    directory: tempfile::TempDir,
    store: ImageStore,
    runtime: Runtime,
    zygote: Zygote,
    base_diff_id: String,
    /// What was built already; cases that need another build it first.
    built: Mutex<BTreeMap<String, Image>>,
}

/// Nothing is brought in: what is not there is missing.
impl BuildHost for World {
    fn zygote(&self) -> HostFuture<'_, Zygote> {
        Box::pin(async { Ok(self.zygote.clone()) })
    }

    fn provide<'a>(
        &'a self,
        _reference: &'a str,
        _progress: &'a (dyn Fn(String) + Send + Sync),
    ) -> HostFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("store")).unwrap();
        let base = base::make().unwrap();
        for (name, archive) in &base.archives {
            let path = directory.path().join("base.tar");
            std::fs::write(&path, archive).unwrap();
            store.import_archive(&path, Some(name)).unwrap();
        }
        for archive in images(&berth_conformance::directory()).unwrap() {
            store.import_archive(&archive, None).unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap();
        let zygote = runtime
            .block_on(Zygote::launch(ZygoteConfig {
                executable: berth_jail::test_zygote().unwrap(),
                cgroup: format!("berth-test/corpus-{}", name.trim_start_matches('.')),
                on_disconnect: OnDisconnect::KillAll,
            }))
            .unwrap();
        Self {
            directory,
            store,
            runtime,
            zygote,
            base_diff_id: base.diff_id,
            built: Mutex::default(),
        }
    }

    /// Facts of Berth's image of a case, or the whole error.
    pub(crate) fn build(&self, case: &Case) -> Result<Facts, String> {
        for need in &case.settings.needs {
            let need = Case::read(&directory().join(need)).map_err(|error| format!("{error:#}"))?;
            self.image(&need)?;
        }
        let image = self.image(case)?;
        self.facts(&image).map_err(|error| format!("{error:#}"))
    }

    fn image(&self, case: &Case) -> Result<Image, String> {
        if let Some(image) = self.built.lock().unwrap().get(&case.name) {
            return Ok(image.clone());
        }
        for need in &case.settings.needs {
            let need = Case::read(&directory().join(need)).map_err(|error| format!("{error:#}"))?;
            self.image(&need)?;
        }
        let context = tempfile::tempdir_in(self.directory.path()).unwrap();
        lay_out(case, context.path()).map_err(|error| format!("{error:#}"))?;
        let request = BuildRequest {
            dockerfile: context.path().join(case.dockerfile_path()),
            context: context.path().to_owned(),
            args: case.settings.args.clone(),
            target: case.settings.target.clone(),
            secrets: case
                .settings
                .secrets
                .iter()
                .map(|(id, content)| (id.clone(), Secret::Value(content.clone().into_bytes())))
                .collect(),
            tags: vec![case.image()],
            ..BuildRequest::default()
        };
        let said = Mutex::new(Vec::new());
        let keep = |event| said.lock().unwrap().push(event);
        let result = self
            .runtime
            .block_on(build(&self.store, self, &request, &keep));
        match result {
            Ok(image) => {
                let mut built = self.built.lock().unwrap();
                Ok(built.entry(case.name.clone()).or_insert(image).clone())
            }
            Err(error) => Err(berth_error::Report::from(error)
                .render_plain()
                .replace(context.path().to_str().unwrap(), "[context]")),
        }
    }

    fn facts(&self, image: &Image) -> anyhow::Result<Facts> {
        let configuration = self.store.config_json(image)?;
        let mut layers = Vec::new();
        for layer in &self.store.packed(image, LayerCompression::Zstd)?.layers {
            let blob = std::fs::File::open(self.store.blob_path(&layer.digest))?;
            layers.push((layer.diff_id.as_str().to_owned(), read_layer(blob)?));
        }
        Facts::new(&configuration, layers, &self.base_diff_id)
    }

    /// Ends the zygote; nothing unfinished may be left.
    pub(crate) fn close(self) {
        let left: Vec<_> = std::fs::read_dir(self.store.scratch_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        self.runtime.block_on(self.zygote.shutdown());
    }
}
