//! `berth images import`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::Report;
use berth_image::{ImageStore, is_archive};

use crate::printer;

pub(super) fn run(store: &ImageStore, path: &Path, name: Option<&str>) -> Result<ExitCode, Report> {
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
    for image in images {
        let names: Vec<_> = named
            .iter()
            .filter(|known| known.id == image.id)
            .map(|known| known.name.as_str())
            .collect();
        printer::line(format!("imported {} ({})", names.join(", "), image.id));
    }
    Ok(ExitCode::SUCCESS)
}
