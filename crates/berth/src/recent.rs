//! The last errors that this process has told, for `berth status`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Errors that are remembered.
const KEPT: usize = 20;
/// Bytes of one.
const LONGEST: usize = 2000;

static ERRORS: Mutex<VecDeque<Told>> = Mutex::new(VecDeque::new());

/// An error that was told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Told {
    /// When, RFC 3339.
    pub(crate) at: String,
    /// What.
    pub(crate) message: String,
}

/// The last ones, newest first.
pub(crate) fn errors() -> Vec<Told> {
    // Each write is one operation.
    let errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
    errors.iter().rev().cloned().collect()
}

/// Remembers errors.
pub(crate) struct Remember;

impl<S: Subscriber> Layer<S> for Remember {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message;
        message.push_str(&text.fields);
        while message.len() > LONGEST {
            message.pop();
        }
        let told = Told {
            at: berth_control::clock::now(),
            message,
        };
        let mut errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
        errors.push_back(told);
        while errors.len() > KEPT {
            errors.pop_front();
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
