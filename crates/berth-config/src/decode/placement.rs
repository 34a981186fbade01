//! `constraints` of a container: where it may run. Kept for deployments; one machine is one place.

use super::field::{Field, Fields};
use super::nearest::{list, nearest};

const REGIONS: &[&str] = &[
    "ENAM", "WNAM", "EEUR", "WEUR", "APAC", "SAM", "ME", "OC", "AFR",
];
const JURISDICTIONS: &[&str] = &["eu", "us", "fedramp"];

/// Where a container may run.
#[derive(Default)]
pub(crate) struct Placement {
    /// Upper-case.
    pub(crate) regions: Vec<String>,
    /// Lower-case.
    pub(crate) jurisdiction: Option<String>,
}

/// `constraints`, and `affinities`, which say nothing here.
pub(crate) fn placement(fields: &Fields<'_>) -> Placement {
    fields.ignore(&["affinities"]);
    let Some(fields) = fields.get("constraints").and_then(|field| field.fields()) else {
        return Placement::default();
    };
    let regions = fields.get("regions").map(|field| regions(&field));
    let jurisdiction = fields
        .get("jurisdiction")
        .and_then(|field| jurisdiction(&field));
    tiers(&fields);
    fields.ignore(&["cities"]);
    fields.finish();
    Placement {
        regions: regions.unwrap_or_default(),
        jurisdiction,
    }
}

fn regions(field: &Field<'_>) -> Vec<String> {
    let mut regions = Vec::new();
    for region in field.strings() {
        let upper = region.value.to_uppercase();
        if REGIONS.contains(&upper.as_str()) {
            regions.push(upper);
        } else {
            field.cx.error(
                &region.span,
                format!("there is no region `{}`", region.value),
                format!("choose from {}", list(REGIONS.iter().copied())),
            );
        }
    }
    regions
}

fn jurisdiction(field: &Field<'_>) -> Option<String> {
    let written = field.text()?;
    let lower = written.value.to_lowercase();
    if JURISDICTIONS.contains(&lower.as_str()) {
        return Some(lower);
    }
    field.cx.error(
        &written.span,
        format!("there is no jurisdiction `{}`", written.value),
        match nearest(&written.value, JURISDICTIONS.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("choose from {}", list(JURISDICTIONS.iter().copied())),
        },
    );
    None
}

fn tiers(fields: &Fields<'_>) {
    let tiers = fields.get("tiers");
    if let Some(field) = &tiers {
        for tier in field.items() {
            tier.number();
        }
    }
    let Some(tier) = fields.get("tier") else {
        return;
    };
    if tiers.is_some() {
        tier.cx.error(
            &tier.key_span,
            format!("`{0}` and `{0}s` cannot both be set", tier.path),
            "keep `tiers`",
        );
    } else {
        tier.cx.warn(
            &tier.key_span,
            format!("`{}` is deprecated", tier.path),
            "use `tiers`, an array",
        );
    }
}
