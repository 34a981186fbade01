//! The Durable Object classes that a Worker owns, however it declares them.

use indexmap::IndexMap;

use super::field::Spanned;
use crate::source::Span;

/// One class that is alive.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) sqlite: bool,
    /// Where its storage was decided.
    pub(crate) span: Span,
    /// `exports.<Class>.container`.
    pub(crate) container: Option<Spanned<String>>,
}

/// What became of a class that is no more.
#[derive(Clone, Debug)]
pub(crate) enum Gone {
    /// By the migration of this tag, or by an entry of `exports`.
    Deleted(String),
    /// It is now called this.
    Renamed(String),
    /// It belongs to this Worker now.
    Transferred(String),
}

/// All classes.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    pub(crate) live: IndexMap<String, Class>,
    pub(crate) gone: IndexMap<String, Gone>,
    /// They come from `exports`, not from `migrations`.
    pub(crate) from_exports: bool,
    /// The next free tag, for hints.
    pub(crate) next_tag: String,
}
