//! `COPY` and `ADD` with their variables.

use super::{Scope, Words};
use crate::copy::{Chmod, CopyPlan};
use crate::dockerfile::{Copy, Heredoc, Instruction, Result};
use crate::error::Problem;
use crate::lint::Linter;
use crate::remote::Remote;
use crate::state::State;

/// What is to be copied; remote sources apart.
pub(crate) fn copy_plan(
    scope: Scope<'_>,
    state: &State,
    instruction: &Instruction,
    copy: &Copy,
    is_add: bool,
    lint: &mut Linter,
) -> Result<CopyPlan> {
    let mut words = Words::new(scope, state, instruction, lint);
    let chown = words
        .maybe(copy.chown.as_ref())?
        .filter(|chown| !chown.is_empty());
    let chmod = words
        .maybe(copy.chmod.as_ref())?
        .filter(|chmod| !chmod.is_empty());
    let chmod_text = chmod;
    let chmod = chmod_text.as_deref().map(Chmod::parse).transpose()?;
    let checksum = words
        .maybe(copy.checksum.as_ref())?
        .filter(|sum| !sum.is_empty());
    let sources = words.all(&copy.sources)?;
    let written = words.one(&copy.destination)?;
    let mut heredocs = Vec::new();
    for heredoc in &copy.heredocs {
        let text = heredoc.text();
        heredocs.push(Heredoc {
            content: if heredoc.expand {
                words.document(&text)?
            } else {
                text
            },
            strip_tabs: false,
            ..heredoc.clone()
        });
    }
    let mut remote = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let Some(found) = Remote::parse(source, copy.keep_git_dir, checksum.as_deref())? else {
            continue;
        };
        if !is_add {
            return Err(
                Problem::new(format!("COPY cannot download `{source}`")).hint("use ADD instead")
            );
        }
        remote.push((index, found));
    }
    if checksum.is_some() && (sources.len() != 1 || remote.is_empty()) {
        return Err(Problem::new("`--checksum` is about one download")
            .hint("give one URL or git repository per ADD"));
    }
    let is_git = |remote: &(usize, Remote)| matches!(remote.1, Remote::Git(_));
    if copy.keep_git_dir.is_some() && !remote.iter().any(is_git) {
        return Err(Problem::new("`--keep-git-dir` is about git repositories"));
    }
    Ok(CopyPlan {
        destination: state.absolute(if written.is_empty() { "." } else { &written }),
        written,
        sources,
        remote,
        heredocs,
        chown,
        chmod,
        chmod_text,
        parents: copy.parents,
        exclude: copy.exclude.clone(),
        unpack: copy.unpack,
        is_add,
        keep_owner: copy.from.is_some(),
    })
}

/// The line of the history.
pub(crate) fn copy_history(plan: &CopyPlan, copy: &Copy) -> String {
    let mut line = if plan.is_add { "ADD" } else { "COPY" }.to_owned();
    if copy.parents {
        line.push_str(" --parents");
    }
    if let Some(chown) = &plan.chown {
        line.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &plan.chmod_text {
        line.push_str(&format!(" --chmod={chmod}"));
    }
    for source in &plan.sources {
        line.push_str(&format!(" {source}"));
    }
    for heredoc in &plan.heredocs {
        line.push_str(&format!(" <<{}", heredoc.name));
    }
    format!("{line} {}", plan.written)
}
