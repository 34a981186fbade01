//! The user's Worker: modules, Durable Object namespaces, container engine.

use super::{ClassImages, Context, unique_key};
use crate::ModuleKind;
use crate::capnp::{Capnp, record, texts};

/// File systems in user space.
const FUSE: &str = "/dev/fuse";

/// The service of the Worker, under the project's name.
pub(super) fn service(context: &Context<'_>) -> Capnp {
    let project = context.project;
    let mut worker = vec![
        ("modules", modules(context)),
        (
            "compatibilityDate",
            project.compatibility_date.as_str().into(),
        ),
        ("compatibilityFlags", texts(&project.compatibility_flags)),
        ("bindings", super::bindings::bindings(context).into()),
    ];
    let namespaces = namespaces(context);
    if !namespaces.is_empty() {
        worker.push(("durableObjectNamespaces", namespaces.into()));
        let storage = record([("localDisk", super::platform::DO_STORAGE.into())]);
        worker.push(("durableObjectStorage", storage));
    }
    if let Some(containers) = &context.options.containers {
        // Without the prefix workerd takes the path for a host name.
        let socket = format!("unix:{}", containers.docker_socket.display());
        let docker = record([
            ("socketPath", socket.into()),
            (
                "containerEgressInterceptorImage",
                containers.egress_image.as_str().into(),
            ),
            ("sessionId", containers.session_id.as_str().into()),
        ]);
        worker.push(("containerEngine", record([("localDocker", docker)])));
    }
    if super::tail::wanted(context).is_some() {
        worker.push(("tails", super::tail::tails()));
    }
    if !project.workflows.is_empty() {
        worker.push((
            "workflowsEngine",
            super::platform::workflows_engine(context),
        ));
    }
    record([
        ("name", project.name.as_str().into()),
        ("worker", Capnp::Struct(worker)),
    ])
}

fn modules(context: &Context<'_>) -> Capnp {
    let modules = context.bundle.modules.iter().map(|module| {
        let kind = match module.kind {
            ModuleKind::EsModule => "esModule",
            ModuleKind::CommonJs => "commonJsModule",
            ModuleKind::Wasm => "wasm",
            ModuleKind::Text => "text",
            ModuleKind::Data => "data",
        };
        let path = module.path.to_string_lossy().into_owned();
        record([
            ("name", module.name.as_str().into()),
            (kind, Capnp::Embed(path)),
        ])
    });
    Capnp::List(modules.collect())
}

/// The classes that workerd has to find in the Worker: those of the configuration, unless the
/// bundle is known not to export them (a class that a migration made and nothing uses any more).
fn namespaces(context: &Context<'_>) -> Vec<Capnp> {
    let exported = |class: &str| match &context.bundle.exports {
        Some(exports) => exports.iter().any(|export| export == class),
        None => true,
    };
    let classes = context.project.classes.iter();
    classes
        .filter(|class| exported(&class.class_name))
        .map(|class| {
            let named = || unique_key(&context.project.name, &class.class_name);
            let key = class.key.clone().unwrap_or_else(named);
            let mut namespace = vec![
                ("className", class.class_name.as_str().into()),
                ("uniqueKey", key.into()),
                ("enableSql", class.sqlite.into()),
            ];
            let containers = context.options.containers.as_ref();
            let images = containers.and_then(|containers| containers.images.get(&class.class_name));
            let fuse = containers.is_some_and(|containers| containers.fuse);
            namespace.extend(images.map(|images| ("container", container(images, fuse))));
            Capnp::Struct(namespace)
        })
        .collect()
}

fn container(images: &ClassImages, fuse: bool) -> Capnp {
    let default = images.default.as_deref().unwrap_or_default();
    let named = images.named.iter().map(|(name, image)| {
        record([
            ("name", name.as_str().into()),
            ("image", image.as_str().into()),
        ])
    });
    let mut fields = vec![
        ("imageName", default.into()),
        ("images", Capnp::List(named.collect())),
    ];
    if fuse {
        let device = record([
            ("pathOnHost", FUSE.into()),
            ("pathInContainer", FUSE.into()),
            ("cgroupPermissions", "rwm".into()),
        ]);
        let privileges = record([
            ("capabilities", texts(["SYS_ADMIN"])),
            ("devices", Capnp::List(vec![device])),
        ]);
        fields.push(("privileges", privileges));
    }
    Capnp::Struct(fields)
}
