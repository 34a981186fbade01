//! A project's source → the modules workerd loads, as wrangler bundles them.
//!
//! One esbuild process per bundle (it starts in milliseconds and leaves nothing behind); this
//! crate plays the part that wrangler's plugins have. Modules are written below the output
//! directory, each only if its content changed.

mod collect;
mod custom;
mod exports;
mod flags;
mod node;
mod plugin;
mod rules;
mod write;

use std::path::{Path, PathBuf};

use berth_config::{ConfigErrors, Project};
use berth_error::Hint;

use crate::Toolchain;
use crate::esbuild::{Session, SessionError, Value};
use node::NodeCompat;
use plugin::{CONTAINERS, WorkerPlugin};
use rules::Rules;

/// A bundled Worker.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The modules, main module first. Empty for a project without `main` (assets only).
    pub modules: Vec<Module>,
    /// What makes the bundle stale when it changes: files, and directories with all below them.
    pub watch_inputs: Vec<PathBuf>,
    /// Warnings for the user, each ready to print (may have several lines).
    pub warnings: Vec<String>,
    /// Remarks, such as that Berth's own `@cloudflare/containers` is used.
    pub notes: Vec<String>,
    /// Names that the main module exports; `None` when only running it would tell.
    pub exports: Option<Vec<String>>,
    /// Source map of the main module.
    pub source_map: Option<PathBuf>,
    /// Equal for bundles with the same modules: a reload is of no use then.
    pub fingerprint: String,
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
    /// esbuild found mistakes in the source; the text, with file and line of each, is ready to print.
    #[error("the Worker could not be bundled\n\n{0}")]
    Source(String),
    /// What the configuration names is not in the Worker.
    #[error("{}", .0.render_plain().trim_end())]
    Project(ConfigErrors),
    /// The project's own build command failed.
    #[error("the build command `{command}` ended with {status}\n{output}")]
    Command {
        /// `build.command`.
        command: String,
        /// Exit status in words, or why it did not start.
        status: String,
        /// What it printed.
        output: String,
    },
    /// esbuild itself failed.
    #[error("the bundler does not work")]
    Esbuild(#[from] SessionError),
    /// A file or directory could not be read or written.
    #[error("could not {action} `{path}`")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for BundleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Project(errors) => errors.hint(),
            _ => None,
        }
    }
}

/// Bundles projects into one output directory.
#[derive(Clone, Debug)]
pub struct Bundler {
    toolchain: Toolchain,
    out_dir: PathBuf,
}

/// What the parts of one build share.
struct BuildOptions<'a> {
    project: &'a Project,
    toolchain: &'a Toolchain,
    out_dir: &'a Path,
    node: NodeCompat,
}

impl Bundler {
    /// A bundler that writes its modules below `out_dir` (created).
    pub fn new(toolchain: &Toolchain, out_dir: &Path) -> Self {
        Self {
            toolchain: toolchain.clone(),
            out_dir: out_dir.to_owned(),
        }
    }

    /// Bundles the project. Cancel-safe: dropping the future ends esbuild.
    ///
    /// # Errors
    ///
    /// [`BundleError::Source`] and [`BundleError::Project`] are the user's to mend; the others are
    /// the machine's.
    pub async fn bundle(&self, project: &Project) -> Result<Bundle, BundleError> {
        let mut bundle = self.bundle_main(project).await?;
        // Files of the assets are read as they are requested; these are in the configuration.
        if let Some(assets) = &project.assets {
            let files = crate::compose::CONFIGURING_ASSETS.iter();
            bundle
                .watch_inputs
                .extend(files.map(|name| assets.directory.join(name)));
        }
        Ok(bundle)
    }

    async fn bundle_main(&self, project: &Project) -> Result<Bundle, BundleError> {
        let Some(main) = &project.main else {
            return Ok(Bundle::default());
        };
        if let Some(build) = &project.bundle.custom_build {
            custom::run(build).await?;
        }
        if !main.is_file() {
            let message = format!("the entry point `{}` does not exist", main.display());
            return Err(BundleError::Project(
                berth_config::bad_main(project, message).into(),
            ));
        }
        let options = BuildOptions {
            project,
            toolchain: &self.toolchain,
            out_dir: &self.out_dir,
            node: NodeCompat::new(&project.compatibility_date, &project.compatibility_flags),
        };
        let mut bundle = if project.bundle.no_bundle {
            collect::unbundled(&options, main)?
        } else {
            build(&options, main).await?
        };
        if let Some(build) = &project.bundle.custom_build {
            // The command writes what is bundled: watching that would never come to rest.
            bundle.watch_inputs.clone_from(&build.watch_dirs);
        }
        Ok(bundle)
    }
}

/// One run of esbuild.
async fn build(options: &BuildOptions<'_>, main: &Path) -> Result<Bundle, BundleError> {
    let project = options.project;
    let rules = Rules::new(&project.bundle.rules);
    let mut plugin = WorkerPlugin::new(options, &rules);
    let executable = &options.toolchain.esbuild;
    let mut session = Session::start(executable, ESBUILD_VERSION, &project.root).await?;
    let flags = flags::flags(options, main);
    let reply = session
        .build(main, &project.root, flags, &mut plugin)
        .await?;
    let errors = reply.get("errors");
    if !errors.list().is_empty() {
        let errors = exports::with_node_hint(errors, options.node);
        let texts = session.format(&errors, false).await?;
        return Err(BundleError::Source(texts.join("\n\n")));
    }
    let mut warnings = rules.warnings.clone();
    warnings.extend(session.format(reply.get("warnings"), true).await?);
    warnings.extend(
        plugin
            .missing_built_ins
            .iter()
            .map(|(name, importers)| exports::missing_built_in(&project.root, name, importers)),
    );
    let metafile = exports::Metafile::parse(reply.get("metafile"))?;
    let exports = metafile.exports();
    exports::check(project, &exports)?;
    let mut bundle = write::bundle(options, main, &reply, &plugin.modules)?;
    bundle.watch_inputs.extend(metafile.inputs(&project.root));
    bundle.watch_inputs.extend(project.bundle.tsconfig.clone());
    if project.bundle.find_additional_modules == Some(true) {
        collect::additional(options, main, &rules, &mut bundle)?;
    }
    bundle.warnings = warnings;
    if plugin.own_containers {
        bundle.notes.push(format!(
            "{CONTAINERS} is not installed in the project: using Berth's own copy ({})",
            package_version(&options.toolchain.containers_package)
        ));
    }
    bundle.exports = Some(exports);
    Ok(bundle)
}

/// The version that `tools/package.json` pins; esbuild refuses to speak with any other.
const ESBUILD_VERSION: &str = "0.28.2";

/// The version of an installed npm package.
fn package_version(directory: &Path) -> String {
    let text = fs_err::read_to_string(directory.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    package["version"]
        .as_str()
        .unwrap_or("unknown version")
        .to_owned()
}

/// Name of the main module: that of the entry point, with `.js`.
fn main_module_name(main: &Path) -> String {
    let stem = main.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.js")
}

/// The text of a member that esbuild sends as text or bytes.
fn text_of(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.text().to_owned(),
    }
}
