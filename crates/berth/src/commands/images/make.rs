//! `berth images make`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::ImageStore;

use crate::printer;

pub(super) async fn run(store: &ImageStore, name: &str) -> Result<ExitCode, Report> {
    let progress = |message: String| printer::note(message);
    match berth_base::ensure(store, name, &progress).await? {
        Some(image) => {
            printer::line(format!("{name} ({})", image.id));
            Ok(ExitCode::SUCCESS)
        }
        None => Err(Report::new(
            format!("there is no recipe for `{name}`"),
            Some(format!(
                "bring it in with `berth images import <tar> {name}`"
            )),
        )),
    }
}
