//! `berth images list`.

use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};
use berth_image::ImageStore;

use crate::printer;
use crate::table::Table;

pub(super) fn run(store: &ImageStore, json: bool) -> Result<ExitCode, Report> {
    let images = store.list()?;
    if json {
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "name": image.name,
                    "id": image.id.to_string(),
                    "size": image.size,
                    "created": image.created,
                })
            })
            .collect();
        printer::line(serde_json::to_string_pretty(&rows).context("could not write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "ID", "SIZE"]);
    for image in images {
        table.row([image.name, image.id.short().to_owned(), size(image.size)]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

/// Bytes as people read them, in powers of ten like `docker images`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        assert_eq!(super::size(999), "999 B");
        assert_eq!(super::size(1_500), "1.5 kB");
        assert_eq!(super::size(123_400_000), "123.4 MB");
        assert_eq!(super::size(2_000_000_000), "2.0 GB");
    }
}
