//! Static assets: workerd's own router and file server.

use berth_config::RunWorkerFirst;
use serde_json::{Value, json};

use super::{ComposeError, Context};
use crate::capnp::{Capnp, record, texts};

/// The service that decides between files and Worker.
pub(super) const SERVICE: &str = "berth:assets";

const HEADERS: &str = "_headers";
const REDIRECTS: &str = "_redirects";
const IGNORE: &str = ".assetsignore";
/// Files with instructions for the assets, in the assets' own directory.
pub(crate) const CONFIGURING_ASSETS: [&str; 3] = [HEADERS, REDIRECTS, IGNORE];

/// The binding of the Worker: files, never the Worker again.
pub(super) fn files_only() -> Capnp {
    record([
        ("name", SERVICE.into()),
        ("entrypoint", "AssetWorker".into()),
    ])
}

pub(super) fn service(context: &Context<'_>) -> Result<Option<Capnp>, ComposeError> {
    let Some(assets) = &context.project.assets else {
        return Ok(None);
    };
    let file = |name: &str| {
        let path = assets.directory.join(name);
        match fs_err::read_to_string(&path) {
            Ok(text) => Ok(Value::String(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
            Err(source) => Err(ComposeError::Read { path, source }),
        }
    };
    let worker_first = match &assets.run_worker_first {
        RunWorkerFirst::Always(always) => json!(always),
        RunWorkerFirst::Routes(routes) => json!(routes),
    };
    let config = json!({
        "html_handling": assets.html_handling,
        "not_found_handling": assets.not_found_handling,
        "run_worker_first": worker_first,
        "headers": file(HEADERS)?,
        "redirects": file(REDIRECTS)?,
        "ignore": file(IGNORE)?,
    });
    let mut service = vec![
        ("path", assets.directory.to_string_lossy().as_ref().into()),
        ("config", config.into()),
    ];
    if context.bundle.modules.is_empty() {
        let date = context.project.compatibility_date.as_str();
        service.push(("compatibilityDate", date.into()));
        service.push((
            "compatibilityFlags",
            texts(&context.project.compatibility_flags),
        ));
    } else {
        service.push(("userWorker", context.project.name.as_str().into()));
    }
    let assets = Capnp::Struct(service);
    Ok(Some(record([("name", SERVICE.into()), ("assets", assets)])))
}
