//! The upload of a version: its form, and a fingerprint by which an unchanged one is known.
//!
//! The fingerprint goes with the version as an annotation. It covers all that makes the version, but
//! what says something about it (message, tag) and what is relative to the server's state (migrations).

use std::fmt::Write as _;

use berth_client::{Body, Client, Form, Part, segment};
use berth_config::Project;
use berth_error::{Report, ResultExt as _};
use berth_workerd::{Bundle, ModuleKind};
use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::live::Live;
use super::source::Source;
use super::steps::Steps;
use super::{assets, metadata};
use crate::cli::SourceArgs;
use crate::transfer::units;

/// Name of the annotation.
pub(super) const FINGERPRINT: &str = "berth/fingerprint";

/// What is sent.
pub(super) struct Upload {
    pub(super) metadata: Map<String, Value>,
    modules: Vec<Module>,
    pub(super) fingerprint: String,
    pub(super) assets: Option<assets::Manifest>,
}

struct Module {
    name: String,
    content_type: &'static str,
    bytes: Vec<u8>,
}

impl Upload {
    /// Puts it together.
    pub(super) fn new(
        source: &Source,
        bundle: &Bundle,
        live: &Live,
        containers: &[Value],
        args: &SourceArgs,
    ) -> Result<Self, Report> {
        let project = &source.project;
        let modules = modules(project, bundle)?;
        let assets = assets::Manifest::of(project)?;
        let mut metadata = metadata::rest(project);
        if let Some(main) = bundle.modules.first() {
            metadata.insert("main_module".to_owned(), main.name.clone().into());
        }
        let bindings = metadata::bindings(project);
        metadata.insert("bindings".to_owned(), bindings.into());
        if !containers.is_empty() {
            metadata.insert("containers".to_owned(), containers.into());
        }
        let mut keep = vec!["secret_text", "secret_key"];
        if args.keep_vars || project.written.get("keep_vars") == Some(&Value::Bool(true)) {
            keep.extend(["plain_text", "json"]);
        }
        metadata.insert("keep_bindings".to_owned(), keep.into());
        if let Some(config) = metadata::assets_config(project) {
            metadata.insert("assets".to_owned(), json!({"config": config}));
        }
        let migrations = project.written.get("migrations");
        let fingerprint = fingerprint(&metadata, migrations, &modules, assets.as_ref());
        if let Some(migrations) = metadata::migrations(project, live.migration_tag.as_deref()) {
            metadata.insert("migrations".to_owned(), migrations);
        }
        let mut annotations = Map::new();
        let texts = [
            ("workers/message", args.message.as_ref()),
            ("workers/tag", args.tag.as_ref()),
            (FINGERPRINT, Some(&fingerprint)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                annotations.insert(name.to_owned(), text.clone().into());
            }
        }
        metadata.insert("annotations".to_owned(), annotations.into());
        Ok(Self {
            metadata,
            modules,
            fingerprint,
            assets,
        })
    }

    /// What would be sent, for `--dry-run`.
    pub(super) fn describe(&self) -> Value {
        let modules = self.modules.iter().map(|module| {
            json!({"name": module.name, "type": module.content_type, "size": module.bytes.len()})
        });
        json!({
            "bindings": self.metadata.get("bindings"),
            "containers": self.metadata.get("containers"),
            "migrations": self.metadata.get("migrations"),
            "modules": modules.collect::<Vec<_>>(),
            "assets": self.assets.as_ref().map_or(0, assets::Manifest::len),
        })
    }

    /// Uploads a version that is live at once, or (`true`) when its containers are known; its id.
    pub(super) async fn send(
        &self,
        client: &Client,
        name: &str,
        steps: &Steps,
    ) -> Result<(String, bool), Report> {
        let path = format!("workers/scripts/{}", segment(name));
        let call = client
            .call(Method::PUT, path)
            .query("excludeScript", "true");
        let (id, answer) = self.exchange(call, "deployment_id", steps).await?;
        Ok((id, answer["berth"]["pending"] == true))
    }

    /// Uploads a version that is not live; its id.
    pub(super) async fn send_version(
        &self,
        client: &Client,
        name: &str,
        steps: &Steps,
    ) -> Result<String, Report> {
        let path = format!("workers/scripts/{}/versions", segment(name));
        let call = client.call(Method::POST, path);
        Ok(self.exchange(call, "id", steps).await?.0)
    }

    async fn exchange(
        &self,
        call: berth_client::Call<'_>,
        id: &str,
        steps: &Steps,
    ) -> Result<(String, Value), Report> {
        let work = async {
            let call = call.query("bindings_inherit", "strict");
            let answer: Value = call.body(Body::Form(self.form()?)).send().await?;
            let version = answer[id].as_str().unwrap_or_default().to_owned();
            let size = self.modules.iter().map(|module| module.bytes.len() as u64);
            let detail = format!("version {version}, {}", units::size(size.sum()));
            Ok(((version, answer), detail))
        };
        steps.run("upload", work).await
    }

    fn form(&self) -> Result<Form, Report> {
        let text = serde_json::to_string(&self.metadata).context("could not write the metadata")?;
        let mut form = Form::new().text("metadata", text);
        for module in &self.modules {
            let part = Part::bytes(module.bytes.clone())
                .file_name(module.name.clone())
                .mime_str(module.content_type)
                .context("could not write the upload")?;
            form = form.part(module.name.clone(), part);
        }
        Ok(form)
    }
}

fn modules(project: &Project, bundle: &Bundle) -> Result<Vec<Module>, Report> {
    let mut modules = Vec::new();
    for module in &bundle.modules {
        modules.push(Module {
            name: module.name.clone(),
            content_type: match module.kind {
                ModuleKind::EsModule => "application/javascript+module",
                ModuleKind::CommonJs => "application/javascript",
                ModuleKind::Wasm => "application/wasm",
                ModuleKind::Text => "text/plain",
                ModuleKind::Data => "application/octet-stream",
            },
            bytes: fs_err::read(&module.path).context("could not read a module of the bundle")?,
        });
    }
    let wanted = project.written.get("upload_source_maps") != Some(&Value::Bool(false));
    if let (Some(path), Some(main), true) = (&bundle.source_map, bundle.modules.first(), wanted) {
        modules.push(Module {
            name: format!("{}.map", main.name),
            content_type: "application/source-map",
            bytes: fs_err::read(path).context("could not read the bundle's source map")?,
        });
    }
    Ok(modules)
}

fn fingerprint(
    metadata: &Map<String, Value>,
    migrations: Option<&Value>,
    modules: &[Module],
    assets: Option<&assets::Manifest>,
) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let settings = json!({"metadata": metadata, "migrations": migrations});
    add(settings.to_string().as_bytes());
    for module in modules {
        add(module.name.as_bytes());
        add(module.content_type.as_bytes());
        add(&module.bytes);
    }
    if let Some(assets) = assets {
        add(assets.to_json().to_string().as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
