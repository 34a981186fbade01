//! A deployed version as workerd's configuration needs it.

use std::path::Path;

use berth_config::{
    D1Database, DurableObjectBinding, DurableObjectClass, KvNamespace, Project, QueueProducer,
    R2Bucket, ServiceBinding, Workflow,
};
use berth_control::content::Content;
use berth_control::worker::{Binding, BindingKind, ModuleKind, Version, Worker};
use berth_control::{Control, ControlError};
use berth_workerd::{Bundle, Module};
use serde_json::json;

use super::assets::Layout;

/// The project and its modules.
///
/// # Errors
/// A secret that cannot be decrypted.
pub(super) fn of(
    control: &Control,
    worker: &Worker,
    version: &Version,
    root: &Path,
    layout: Option<&Layout>,
) -> Result<(Project, Bundle), ControlError> {
    let mut project = Project {
        compatibility_date: version.compatibility_date.clone(),
        compatibility_flags: version.compatibility_flags.clone(),
        secrets: control.open_secrets(worker, version)?,
        crons: worker.crons.clone(),
        ..Project::new(&worker.name, root)
    };
    for binding in &version.bindings {
        bind(&mut project, version, binding);
    }
    if let (Some(assets), Some(layout)) = (&version.assets, layout) {
        let mut bindings = version.bindings.iter();
        let binding = bindings.find(|binding| matches!(binding.kind, BindingKind::Assets {}));
        let binding = binding.map(|binding| binding.name.clone());
        project.assets = Some(layout.project(assets, binding));
    }
    let classes = worker.classes.iter();
    project.classes = classes
        .map(|(name, class)| DurableObjectClass {
            class_name: name.clone(),
            sqlite: class.sqlite,
            key: Some(class.key.clone()),
        })
        .collect();
    Ok((project, bundle(control.content(), version)))
}

fn bind(project: &mut Project, version: &Version, binding: &Binding) {
    let name = binding.name.clone();
    match &binding.kind {
        BindingKind::PlainText { text } => {
            project.vars.insert(name, text.clone().into());
        }
        BindingKind::Json { json } => {
            project.vars.insert(name, json.clone());
        }
        BindingKind::VersionMetadata {} => {
            let tag = version.annotations.get("workers/tag");
            let metadata = json!({
                "id": version.id,
                "tag": tag.map(String::as_str).unwrap_or_default(),
                "timestamp": version.created,
            });
            project.vars.insert(name, metadata);
        }
        BindingKind::DurableObjectNamespace { class_name } => {
            let class_name = class_name.clone();
            project
                .durable_objects
                .push(DurableObjectBinding { name, class_name });
        }
        BindingKind::KvNamespace { namespace_id } => project.kv_namespaces.push(KvNamespace {
            binding: name,
            id: namespace_id.clone(),
        }),
        BindingKind::D1 { id } => project.d1_databases.push(D1Database {
            binding: name,
            database_name: id.clone(),
            database_id: id.clone(),
        }),
        BindingKind::Queue {
            queue_name,
            delivery_delay,
        } => {
            project.queue_producers.push(QueueProducer {
                binding: name,
                queue: queue_name.clone(),
                delivery_delay_s: *delivery_delay,
            });
        }
        BindingKind::Workflow {
            workflow_name,
            class_name,
            ..
        } => {
            project.workflows.push(Workflow {
                binding: name,
                name: workflow_name.clone(),
                class_name: class_name.clone(),
            });
        }
        BindingKind::Service {
            service,
            entrypoint,
            ..
        } => {
            project.services.push(ServiceBinding {
                binding: name,
                service: service.clone(),
                entrypoint: entrypoint.clone(),
            });
        }
        BindingKind::R2Bucket { bucket_name } => project.r2_buckets.push(R2Bucket {
            binding: name,
            bucket_name: bucket_name.clone(),
        }),
        // It is part of the assets.
        BindingKind::Assets {} => {}
        // Links have them: they are of a record that changes.
        BindingKind::SecretsStoreSecret { .. } => {}
    }
}

/// The modules, the main one first, as workerd wants them.
fn bundle(content: &Content, version: &Version) -> Bundle {
    let mut modules: Vec<Module> = Vec::new();
    let mut source_map = None;
    for module in &version.modules {
        let path = content.path(&module.digest);
        let kind = match module.kind {
            ModuleKind::EsModule => berth_workerd::ModuleKind::EsModule,
            ModuleKind::CommonJs => berth_workerd::ModuleKind::CommonJs,
            ModuleKind::Wasm => berth_workerd::ModuleKind::Wasm,
            ModuleKind::Text => berth_workerd::ModuleKind::Text,
            ModuleKind::Data => berth_workerd::ModuleKind::Data,
            ModuleKind::SourceMap => {
                let of = module.name.strip_suffix(".map");
                if of.is_some() && of == version.main_module.as_deref() {
                    source_map = Some(path);
                }
                continue;
            }
        };
        let is_main = version.main_module.as_ref() == Some(&module.name);
        let module = Module {
            name: module.name.clone(),
            kind,
            path,
        };
        if is_main {
            modules.insert(0, module);
        } else {
            modules.push(module);
        }
    }
    Bundle {
        modules,
        source_map,
        ..Bundle::default()
    }
}
