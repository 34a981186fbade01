//! `berth images tag`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::{ImageStore, Reference};
use serde_json::json;

use super::{find, print_json};
use crate::printer;

pub(super) fn run(
    store: &ImageStore,
    source: &str,
    target: &str,
    json: bool,
) -> Result<ExitCode, Report> {
    let image = find(store, source)?;
    store.tag(&image, target)?;
    if json {
        let name = target.parse::<Reference>()?.familiar();
        return print_json(&json!({ "name": name, "id": image.id.to_string() }));
    }
    printer::line(format!("{target} ({})", image.id));
    Ok(ExitCode::SUCCESS)
}
