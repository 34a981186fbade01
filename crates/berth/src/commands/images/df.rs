//! `berth images df`.

use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use berth_error::Report;
use berth_image::ImageStore;
use serde_json::{Value, json};

use super::print_json;
use crate::printer;
use crate::table::Table;
use crate::transfer::units::size;

pub(super) fn run(store: &ImageStore, json: bool) -> Result<ExitCode, Report> {
    let usage = store.usage()?;
    let in_use = usage.images.iter().filter(|image| image.in_use).count();
    if json {
        let images: Vec<Value> = usage
            .images
            .iter()
            .map(|image| {
                let last_used = image.last_used.duration_since(UNIX_EPOCH);
                json!({
                    "id": image.id.to_string(),
                    "names": image.names,
                    "created": image.created,
                    "lastUsed": last_used.map_or(0, |since| since.as_secs()),
                    "onDisk": image.bytes,
                    "onDiskAlone": image.unique_bytes,
                    "inUse": image.in_use,
                })
            })
            .collect();
        return print_json(&json!({
            "bytes": usage.bytes,
            "images": {
                "count": usage.images.len(),
                "inUse": in_use,
                "bytes": usage.image_bytes,
                "reclaimable": usage.reclaimable_image_bytes,
                "list": images,
            },
            "buildCache": {
                "layers": usage.cached_layers,
                "directories": usage.cache_directories,
                "bytes": usage.cache_bytes,
                "reclaimable": usage.reclaimable_cache_bytes,
            },
            "garbage": usage.garbage_bytes,
        }));
    }
    let mut table = Table::new(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    table.row([
        "Images".to_owned(),
        usage.images.len().to_string(),
        in_use.to_string(),
        size(usage.image_bytes),
        size(usage.reclaimable_image_bytes),
    ]);
    table.row([
        "Build cache".to_owned(),
        (usage.cached_layers + usage.cache_directories).to_string(),
        String::new(),
        size(usage.cache_bytes),
        size(usage.reclaimable_cache_bytes),
    ]);
    table.row([
        "Removed".to_owned(),
        String::new(),
        String::new(),
        size(usage.garbage_bytes),
        size(usage.garbage_bytes),
    ]);
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}
