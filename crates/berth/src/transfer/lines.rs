//! Progress as lines: what happened, not how far it is.

use berth_distribution::{LayerState, Progress};

use super::units::{self, size};

/// The line of an event, if it is worth one.
pub(super) fn line(event: &Progress) -> Option<String> {
    match event {
        Progress::Resolved {
            reference,
            layers,
            bytes,
            host,
            ..
        } => Some(format!(
            "{reference}: {}, {} ({host})",
            units::layers(*layers),
            size(*bytes)
        )),
        Progress::Note { message } => Some(message.clone()),
        Progress::Layer {
            digest,
            size: bytes,
            state,
        } => {
            let text = match state {
                LayerState::Exists => "exists".to_owned(),
                LayerState::Mounted { from } => format!("mounted from {from}"),
                LayerState::Retrying { reason, wait_ms } => {
                    format!("again in {wait_ms} ms: {reason}")
                }
                LayerState::Done => format!("done, {}", size(*bytes)),
                LayerState::Downloading { .. }
                | LayerState::Unpacking
                | LayerState::Uploading { .. } => return None,
            };
            Some(format!("{}: {text}", digest.short()))
        }
    }
}
