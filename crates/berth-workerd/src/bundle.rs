//! A project's source → the modules workerd loads, as wrangler bundles them.

use std::path::{Path, PathBuf};

use berth_config::Project;
use berth_error::Hint;

use crate::Toolchain;

/// A bundled Worker.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The modules, main module first. Empty for a project without `main` (assets only).
    pub modules: Vec<Module>,
    /// Every file whose change makes the bundle stale.
    pub watch_inputs: Vec<PathBuf>,
    /// Warnings for the user, each ready to print (may have several lines).
    pub warnings: Vec<String>,
    /// Remarks, such as that Berth's own `@cloudflare/containers` is used.
    pub notes: Vec<String>,
}

/// One module of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The name by which other modules import it.
    pub name: String,
    /// What importing it gives.
    pub kind: ModuleKind,
    /// The file with its content, below the bundle's output directory.
    pub path: PathBuf,
}

/// Kinds of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// An ES module.
    EsModule,
    /// A CommonJS module.
    CommonJs,
    /// A `WebAssembly.Module`.
    Wasm,
    /// A string.
    Text,
    /// An `ArrayBuffer`.
    Data,
}

/// Why a Worker could not be bundled.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// esbuild found errors in the source; the text is ready to print.
    #[error("the Worker could not be bundled\n{0}")]
    Source(String),
}

impl Hint for BundleError {}

/// Bundles one project again and again; keeps esbuild running in between, so that a rebuild only
/// reads what changed.
#[derive(Debug)]
pub struct Bundler {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Bundler {
    /// A bundler that writes its modules below `out_dir` (created).
    pub fn new(toolchain: &Toolchain, out_dir: &Path) -> Self {
        todo!()
    }

    /// Bundles the project. Returns the last result at once when no input has changed since, even
    /// when that was another process.
    pub async fn bundle(&mut self, project: &Project) -> Result<Bundle, BundleError> {
        todo!()
    }
}
