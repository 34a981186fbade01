//! A Worker that is told what others do: its `tail()` handler, called over a socket.
//!
//! workerd calls `tail()` only for Workers of its own process. So a consumer runs with a module of ours in
//! front, which exports what the main module exports and one entrypoint more. That gets the events by HTTP
//! and hands them on as the objects that workerd makes of them.

use std::path::{Path, PathBuf};

use crate::{Bundle, Entrypoint, Module, ModuleKind};

/// The entrypoint's name, which no binding of another Worker may have.
pub const TAIL_ENTRYPOINT: &str = "berth:tail";
/// The header that says whose events are in a request: a name for each, with commas.
pub const CONSUMED_HEADER: &str = "consumed-events";
/// What a Worker ends with that has no `tail()` handler.
pub const NO_TAIL_HANDLER: &str = "the Worker has no tail() handler";

/// Name of the module.
const NAME: &str = "berth-consumer.js";
const SOURCE: &str = include_str!("consumer.js");

impl Entrypoint {
    /// That at which a Worker is told what others do.
    pub fn tail() -> Self {
        Self {
            class: Some(TAIL_ENTRYPOINT.to_owned()),
            props: None,
        }
    }
}

/// Puts the module in front of a bundle; it is written to a directory.
///
/// # Errors
/// It cannot be written.
pub fn consume_tails(bundle: &mut Bundle, directory: &Path) -> std::io::Result<()> {
    let Some(main) = bundle.modules.first() else {
        return Ok(());
    };
    let path: PathBuf = directory.join(NAME);
    let main = serde_json::Value::from(format!("./{}", main.name));
    let text = format!(
        "import * as worker from {main};\nexport * from {main};\n{}",
        SOURCE.replace("NO_TAIL_HANDLER", NO_TAIL_HANDLER)
    );
    fs_err::write(&path, text)?;
    bundle.modules.insert(
        0,
        Module {
            name: NAME.to_owned(),
            kind: ModuleKind::EsModule,
            path,
        },
    );
    Ok(())
}
