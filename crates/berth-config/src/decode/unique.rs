//! Every name in `env` stands for one thing.

use indexmap::IndexMap;

use super::cx::Cx;
use super::field::Spanned;
use crate::source::Span;

/// The names in `env` seen so far, in the order in which they were seen.
#[derive(Default)]
pub(crate) struct Bindings {
    seen: Vec<(String, &'static str, Span)>,
}

impl Bindings {
    /// Notes a name and what it stands for.
    pub(crate) fn add(&mut self, name: &Spanned<String>, kind: &'static str) {
        self.seen
            .push((name.value.clone(), kind, name.span.clone()));
    }

    /// Reports every second use of a name, one message per name. Returns the names.
    pub(crate) fn finish(self, cx: &Cx<'_>) -> Vec<String> {
        let mut first: IndexMap<String, Vec<(&'static str, Span)>> = IndexMap::new();
        let mut seen = self.seen;
        seen.sort_by_key(|(_, _, span)| span.start);
        for (name, kind, span) in seen {
            first.entry(name).or_default().push((kind, span));
        }
        for (name, uses) in &first {
            let [(first_kind, first_span), (kind, span), ..] = uses.as_slice() else {
                continue;
            };
            let line = cx.locate(first_span).line;
            let other = if first_kind == kind {
                "another one".to_owned()
            } else {
                format!("a {first_kind}")
            };
            cx.error(
                span,
                format!("the binding `{name}` of this {kind} is taken by {other} in line {line}"),
                "every binding needs its own name, by which the Worker finds it in `env`",
            );
        }
        first.into_keys().collect()
    }
}
