//! `berth images import`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::Report;
use berth_image::{ImageStore, is_archive};
use serde_json::{Value, json};

use super::print_json;
use crate::printer;

pub(super) fn run(
    store: &ImageStore,
    path: &Path,
    name: Option<&str>,
    json: bool,
) -> Result<ExitCode, Report> {
    let needs_name = || {
        Report::new(
            format!(
                "`{}` is a root file system, which carries no name",
                path.display()
            ),
            Some(format!(
                "give it one: `berth images import {} <name>`",
                path.display()
            )),
        )
    };
    let images = if path == Path::new("-") {
        let name = name.ok_or_else(needs_name)?;
        vec![store.import_rootfs(std::io::stdin(), name)?]
    } else if name.is_none() && !is_archive(path)? {
        return Err(needs_name());
    } else {
        store.import(path, name)?
    };
    let named = store.list()?;
    let mut imported: Vec<Value> = Vec::new();
    for image in images {
        let names: Vec<_> = named
            .iter()
            .filter(|known| known.id == image.id)
            .map(|known| known.name.as_str())
            .collect();
        if json {
            imported.push(json!({ "id": image.id.to_string(), "names": names }));
        } else {
            printer::line(format!("imported {} ({})", names.join(", "), image.id));
        }
    }
    if json {
        return print_json(&imported.into());
    }
    Ok(ExitCode::SUCCESS)
}
