//! `berth images prune`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::{ImageStore, Policy};
use serde_json::{Value, json};

use super::print_json;
use crate::cli::ImagesPruneArgs;
use crate::printer;
use crate::transfer::units::size;

pub(super) fn run(store: &ImageStore, args: &ImagesPruneArgs) -> Result<ExitCode, Report> {
    let collected = store.collect(&Policy {
        caches: false,
        all: args.all,
        unused_for: args.filter,
        max_bytes: args.max_size,
        garbage_only: false,
        dry_run: args.dry_run,
    })?;
    if args.json {
        let images: Vec<Value> = collected
            .images
            .iter()
            .map(|(id, names)| json!({ "id": id.to_string(), "names": names }))
            .collect();
        return print_json(&json!({
            "dryRun": args.dry_run,
            "images": images,
            "layers": collected.layers,
            "blobs": collected.blobs,
            "caches": collected.caches,
            "bytes": collected.bytes,
            "left": collected.left,
        }));
    }
    let (remove, free) = if args.dry_run {
        ("would remove", "would free")
    } else {
        ("removed", "freed")
    };
    for (id, names) in &collected.images {
        let name = match names.as_slice() {
            [] => "an image without a name".to_owned(),
            names => names.join(", "),
        };
        printer::line(format!("{remove} {name} ({})", id.short()));
    }
    if collected.layers + collected.caches > 0 {
        printer::line(format!(
            "{remove} {} unpacked layers and {} cache directories",
            collected.layers, collected.caches
        ));
    }
    printer::line(format!(
        "{free} {}, {} in use or kept",
        size(collected.bytes),
        size(collected.left)
    ));
    if args.max_size.is_some_and(|most| collected.left > most) {
        printer::note("the store is still larger than that: the rest is in use");
    }
    Ok(ExitCode::SUCCESS)
}
