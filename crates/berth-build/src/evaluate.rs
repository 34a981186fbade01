//! Instructions with their variables: what each one means where it stands.
//!
//! Nothing here touches a file or runs a program. The same functions serve the check of the whole file
//! before the first step ([`check`]) and the steps themselves, so that whatever can be known to fail
//! fails at once.

mod check;
mod copy;
mod history;
mod mounts;
mod ports;
mod settings;
mod signal;

use std::collections::BTreeMap;

pub(crate) use check::check;
pub(crate) use copy::{copy_history, copy_plan};
pub(crate) use history::run as run_history;
pub(crate) use mounts::mounts;
pub(crate) use settings::{settings, workdir};

use crate::dockerfile::expand::{Lexer, Variables as _};
use crate::dockerfile::{Instruction, Result};
use crate::error::nearest;
use crate::lint::{Linter, Rule};
use crate::stages::Plan;
use crate::state::State;

/// What holds for the whole build.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) plan: &'a Plan,
    /// The build arguments that are given.
    pub(crate) args: &'a BTreeMap<String, String>,
}

/// One instruction with what its words are expanded from.
pub(crate) struct Words<'a> {
    scope: Scope<'a>,
    state: &'a State,
    instruction: &'a Instruction,
    lint: &'a mut Linter,
}

impl<'a> Words<'a> {
    pub(crate) fn new(
        scope: Scope<'a>,
        state: &'a State,
        instruction: &'a Instruction,
        lint: &'a mut Linter,
    ) -> Self {
        Self {
            scope,
            state,
            instruction,
            lint,
        }
    }

    /// Expands a word and removes its quotes.
    pub(crate) fn one(&mut self, word: &str) -> Result<String> {
        let lexer = Lexer::new(self.scope.plan.escape);
        let expanded = lexer.process(word, self.state)?;
        self.report(&expanded.unmatched);
        Ok(expanded.text)
    }

    pub(crate) fn all(&mut self, words: &[String]) -> Result<Vec<String>> {
        words.iter().map(|word| self.one(word)).collect()
    }

    pub(crate) fn maybe(&mut self, word: Option<&String>) -> Result<Option<String>> {
        word.map(|word| self.one(word)).transpose()
    }

    /// Expands a word that may become several, or none. Nobody is told of unset variables, as in
    /// BuildKit.
    fn several(&mut self, word: &str) -> Result<Vec<String>> {
        let lexer = Lexer::new(self.scope.plan.escape);
        Ok(lexer.process(word, self.state)?.words)
    }

    /// Expands the content of a here-document.
    fn document(&mut self, text: &str) -> Result<String> {
        let expanded = Lexer::document().process(text, self.state)?;
        self.report(&expanded.unmatched);
        Ok(expanded.text)
    }

    fn warn(&mut self, rule: Rule, message: String) {
        let own = self.instruction.checks.as_ref();
        self.lint.warn(rule, self.instruction.line, own, message);
    }

    /// An `ARG` without a value is declared, too.
    fn report(&mut self, unmatched: &std::collections::BTreeSet<String>) {
        for name in unmatched {
            if self.state.build_args.iter().any(|(known, _)| known == name) {
                continue;
            }
            let near = nearest(name, &self.state.names());
            let near = near.map(|near| format!(", did you mean `${near}`?"));
            self.warn(
                Rule::UndefinedVar,
                format!("`${name}` is not set{}", near.unwrap_or_default()),
            );
        }
    }
}
