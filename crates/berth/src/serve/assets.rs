//! Static assets as directories, which is what workerd serves them from: hard links to the files that the
//! control plane keeps, so that no file is there twice.
//!
//! Invariants: a directory has all of its files or is not there; it stays while anybody holds it. Versions
//! with the same files and the same `_headers` and `_redirects` share one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use berth_config::RunWorkerFirst;
use berth_control::Control;
use berth_control::assets::{self, Assets, AssetsConfig, HtmlHandling, Manifest, NotFoundHandling};
use berth_control::content::Content;
use berth_control::worker::Version;
use berth_error::{Report, ResultExt as _};

/// The directories of a server.
#[derive(Debug)]
pub(super) struct Layouts {
    root: PathBuf,
    held: Mutex<BTreeMap<String, Weak<Layout>>>,
}

/// One directory. It goes with its last holder.
#[derive(Debug)]
pub(super) struct Layout {
    path: PathBuf,
    layouts: Arc<Layouts>,
    key: String,
}

impl Layouts {
    /// Those of a directory on the control plane's file system. Those that are there are nobody's.
    pub(super) fn open(root: PathBuf) -> Result<Arc<Self>, Report> {
        remove(&root)
            .and_then(|()| fs_err::create_dir_all(&root))
            .context("could not make the directory of static assets")?;
        Ok(Arc::new(Self {
            root,
            held: Mutex::default(),
        }))
    }

    /// The directory of these assets. Blocks for as long as its links take.
    fn lay_out(
        self: &Arc<Self>,
        control: &Control,
        assets: &Assets,
    ) -> Result<Arc<Layout>, Report> {
        let key = key(assets);
        // Held throughout: nobody makes the same twice, and nobody takes it away meanwhile.
        let mut held = self.lock();
        if let Some(layout) = held.get(&key).and_then(Weak::upgrade) {
            return Ok(layout);
        }
        let path = self.root.join(&key);
        let next = self.root.join(".next");
        let manifest = control.manifest(assets)?;
        let make = || -> std::io::Result<()> {
            remove(&next)?;
            remove(&path)?;
            fill(&next, control.content(), &manifest, &assets.config)?;
            fs_err::rename(&next, &path)
        };
        if let Err(error) = make() {
            // What is half made is in nobody's way, but takes room.
            let _ = std::fs::remove_dir_all(&next);
            return Err(Report::from_error(&error).context("could not lay out the static assets"));
        }
        let layout = Arc::new(Layout {
            path,
            layouts: Arc::clone(self),
            key: key.clone(),
        });
        held.insert(key, Arc::downgrade(&layout));
        Ok(layout)
    }

    /// The directory of a version's assets, if it has any.
    pub(super) async fn of(
        self: &Arc<Self>,
        control: &Control,
        version: &Version,
    ) -> Result<Option<Arc<Layout>>, Report> {
        let Some(assets) = version.assets.clone() else {
            return Ok(None);
        };
        let (layouts, control) = (Arc::clone(self), control.clone());
        let made = tokio::task::spawn_blocking(move || layouts.lay_out(&control, &assets)).await;
        made.map_err(|error| Report::from_error(&error))?.map(Some)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Weak<Layout>>> {
        // Entries are whole at every step.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layout {
    /// These assets as workerd's configuration needs them. `binding`: their name in `env`.
    pub(super) fn project(&self, assets: &Assets, binding: Option<String>) -> berth_config::Assets {
        let config = &assets.config;
        let html = config
            .html_handling
            .unwrap_or(HtmlHandling::AutoTrailingSlash);
        let not_found = config.not_found_handling.unwrap_or(NotFoundHandling::None);
        berth_config::Assets {
            directory: self.path.clone(),
            binding,
            html_handling: html.word().to_owned(),
            not_found_handling: not_found.word().to_owned(),
            run_worker_first: match &config.run_worker_first {
                Some(assets::RunWorkerFirst::Always(always)) => RunWorkerFirst::Always(*always),
                Some(assets::RunWorkerFirst::Routes(routes)) => {
                    RunWorkerFirst::Routes(routes.clone())
                }
                None => RunWorkerFirst::Always(false),
            },
        }
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        let mut held = self.layouts.lock();
        // Somebody may have made it anew before this lock was taken.
        let anew = held
            .get(&self.key)
            .is_some_and(|layout| layout.strong_count() > 0);
        if anew {
            return;
        }
        held.remove(&self.key);
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "former assets stay behind");
        }
    }
}

/// The same for the same files.
fn key(assets: &Assets) -> String {
    let texts = format!("{:?}{:?}", assets.config.headers, assets.config.redirects);
    let texts = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, texts.as_bytes());
    format!("{}-{}", assets.manifest, texts.simple())
}

fn fill(
    directory: &Path,
    content: &Content,
    manifest: &Manifest,
    config: &AssetsConfig,
) -> std::io::Result<()> {
    fs_err::create_dir_all(directory)?;
    let mut made = PathBuf::new();
    for (path, asset) in &manifest.files {
        let path = directory.join(path);
        if let Some(parent) = path.parent()
            && parent != made
        {
            fs_err::create_dir_all(parent)?;
            made = parent.to_owned();
        }
        fs_err::hard_link(content.path(&asset.digest), &path)?;
    }
    let texts = [
        ("_headers", &config.headers),
        ("_redirects", &config.redirects),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            fs_err::write(directory.join(name), text)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
