//! `berth images list`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::ImageStore;
use serde_json::{Value, json};

use super::print_json;
use crate::cli::ImagesListArgs;
use crate::printer;
use crate::table::Table;
use crate::transfer::units::size;

pub(super) fn run(store: &ImageStore, args: &ImagesListArgs) -> Result<ExitCode, Report> {
    let mut images = store.list()?;
    if let Some(filter) = &args.filter {
        images.retain(|image| filter.is_match(&image.name));
    }
    if args.json {
        let rows: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "id": image.id.to_string(),
                    "size": image.size,
                    "created": image.created,
                })
            })
            .collect();
        return print_json(&rows.into());
    }
    let mut table = Table::new(["NAME", "ID", "SIZE"]);
    for image in images {
        table.row([image.name, image.id.short().to_owned(), size(image.size)]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}
