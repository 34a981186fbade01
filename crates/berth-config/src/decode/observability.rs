//! `observability`.

use super::field::Fields;
use super::root::Root;
use crate::Observability;

/// Worker logs are kept if `logs.enabled`, or else `enabled`, says so.
pub(crate) fn observability(root: &Root<'_>) -> Observability {
    let Some(fields) = root.get("observability").and_then(|field| field.fields()) else {
        return Observability::default();
    };
    let enabled = fields.get("enabled").and_then(|field| field.boolean());
    let rate = sampling_rate(&fields);
    let mut logs_enabled = None;
    let mut logs_rate = None;
    if let Some(logs) = fields.get("logs").and_then(|field| field.fields()) {
        logs_enabled = logs.get("enabled").and_then(|field| field.boolean());
        logs_rate = sampling_rate(&logs);
        logs.ignore(&["invocation_logs", "persist", "destinations"]);
        logs.finish();
    }
    if let Some(traces) = fields.get("traces").and_then(|field| field.fields()) {
        sampling_rate(&traces);
        traces.ignore(&["enabled", "persist", "destinations"]);
        traces.finish();
    }
    fields.finish();
    Observability {
        enabled: logs_enabled.or(enabled).unwrap_or(false),
        head_sampling_rate: logs_rate.or(rate),
    }
}

fn sampling_rate(fields: &Fields<'_>) -> Option<f64> {
    let field = fields.get("head_sampling_rate")?;
    let rate = field.number()?;
    if !(0.0..=1.0).contains(&rate.value) {
        field.cx.error(
            &rate.span,
            format!("`{}` cannot be {}", field.path, rate.value),
            "a number from 0 to 1: the share of requests whose logs are kept",
        );
        return None;
    }
    Some(rate.value)
}
