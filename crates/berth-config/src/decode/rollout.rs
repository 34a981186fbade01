//! `rollout_step_percentage`, `rollout_kind`, `rollout_active_grace_period`.

use super::field::{Field, Fields};
use crate::value::Kind;

const KINDS: &[&str] = &["full_auto", "full_manual", "none"];
const STEPS: &[u32] = &[5, 10, 20, 25, 50, 100];

/// How a new version replaces the old one's instances.
pub(crate) struct Rollout {
    pub(crate) steps: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) grace_period_s: u64,
}

/// `written_max`: `max_instances`, if the file has it; `max`: with its default.
pub(crate) fn rollout(fields: &Fields<'_>, written_max: Option<u32>, max: u32) -> Rollout {
    let default = if max < 2 { vec![100] } else { vec![10, 100] };
    let steps = fields
        .get("rollout_step_percentage")
        .and_then(|field| steps(&field, written_max));
    let kind = fields
        .get("rollout_kind")
        .and_then(|field| field.choice(KINDS));
    let grace = fields
        .get("rollout_active_grace_period")
        .and_then(|field| field.whole(0, u32::MAX));
    Rollout {
        steps: steps.unwrap_or(default),
        kind: kind.map_or_else(|| "full_auto".to_owned(), |kind| kind.value),
        grace_period_s: grace.unwrap_or(0).into(),
    }
}

fn steps(field: &Field<'_>, max_instances: Option<u32>) -> Option<Vec<u8>> {
    if !matches!(field.value.kind, Kind::Array(_)) {
        let step = field.whole(1, 100)?;
        if !STEPS.contains(&step) {
            field.cx.error(
                field.span(),
                format!("`{}` cannot be {step}", field.path),
                "choose 5, 10, 20, 25, 50 or 100, or give an array of percentages that ends with 100",
            );
            return None;
        }
        return (1..=100 / step)
            .map(|index| u8::try_from(index * step).ok())
            .collect();
    }
    let items = field.items();
    let mut steps: Vec<u8> = Vec::with_capacity(items.len());
    for item in &items {
        let step = u8::try_from(item.whole(10, 100)?).ok()?;
        if steps.last().is_some_and(|previous| *previous > step) {
            field.cx.error(
                item.span(),
                format!("`{}` is not ascending", field.path),
                "each step is the share of instances updated so far",
            );
            return None;
        }
        steps.push(step);
    }
    if steps.last() != Some(&100) {
        field.cx.error(
            items.last().map_or(field.span(), Field::span),
            format!("`{}` does not end with 100", field.path),
            "the last step must reach all instances",
        );
        return None;
    }
    if let Some(max) = max_instances
        && u32::try_from(steps.len()).is_ok_and(|count| count > max)
    {
        field.cx.error(
            field.span(),
            format!("`{}` has more steps than there are instances", field.path),
            format!("`max_instances` is {max}"),
        );
    }
    Some(steps)
}
