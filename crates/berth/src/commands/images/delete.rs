//! `berth images delete`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::{Image, ImageStore, Policy, Reference};
use serde_json::{Value, json};

use super::{find, print_json};
use crate::cli::ImagesDeleteArgs;
use crate::{printer, terminal};

pub(super) fn run(store: &ImageStore, args: &ImagesDeleteArgs) -> Result<ExitCode, Report> {
    // All or nothing as far as can be seen beforehand.
    let mut doomed = Vec::new();
    for reference in &args.images {
        let image = find(store, reference)?;
        let names = lost_names(store, &image, reference)?;
        doomed.push((reference, image, names));
    }
    let mut removed: Vec<Value> = Vec::new();
    for (reference, image, names) in doomed {
        let last = names.len() == store.list()?.iter().filter(|n| n.id == image.id).count();
        let users = store.users(&image)?;
        if last && !users.is_empty() && !args.force && !agreed(reference, &users)? {
            printer::note(format!("kept {reference}"));
            continue;
        }
        if last {
            store.unpin_image(&image.id)?;
            store.remove(image.id.as_str())?;
        } else {
            store.untag(reference)?;
        }
        if !args.json {
            printer::line(format!("removed {reference}"));
        }
        removed.push(json!({
            "reference": reference,
            "id": image.id.to_string(),
            "names": names,
            "image": last,
        }));
    }
    let policy = Policy {
        garbage_only: true,
        ..Policy::default()
    };
    store.collect(&policy)?;
    if args.json {
        return print_json(&removed.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The names that go with a reference: itself, or all of the image.
fn lost_names(store: &ImageStore, image: &Image, reference: &str) -> Result<Vec<String>, Report> {
    let mut names: Vec<String> = store
        .list()?
        .into_iter()
        .filter(|named| named.id == image.id)
        .map(|named| named.name)
        .collect();
    let asked = reference.parse::<Reference>().ok();
    if let Some(asked) = asked
        && names.contains(&asked.listed())
    {
        names.retain(|name| *name == asked.listed());
    }
    Ok(names)
}

/// What is needed goes only if somebody says so.
fn agreed(reference: &str, users: &[String]) -> Result<bool, Report> {
    let needed = format!("image `{reference}` is needed by {}", users.join(", "));
    let answer = terminal::ask(&format!(
        "{needed}.\nWhat runs goes on, but cannot be started again. Delete it?"
    ));
    answer.ok_or_else(|| {
        Report::new(
            needed,
            Some(
                "`--force` deletes it anyway: what runs goes on, but cannot be started again"
                    .to_owned(),
            ),
        )
    })
}
