//! Doors for the fuzz targets, which exist only when they are built (`cargo xtask fuzz`).

use std::collections::BTreeMap;

use crate::context::ignore::Ignore;
use crate::dockerfile::parse;
use crate::evaluate::{Scope, check};
use crate::stages::Plan;
use crate::state::State;

/// Parses a Dockerfile and evaluates all of it, as before the first step of a build.
pub fn dockerfile(text: &str) {
    let args = BTreeMap::from([("A".to_owned(), "value".to_owned())]);
    let Ok(plan) = parse(text).and_then(|parsed| Plan::new(parsed, &args)) else {
        return;
    };
    let target = plan.stages.len() - 1;
    let Ok(needed) = plan.needed(target) else {
        return;
    };
    let scope = Scope {
        plan: &plan,
        args: &args,
    };
    let mut lint = plan.lint.clone();
    let of_image = |_: &str| Some(State::scratch());
    let _ = check(scope, &needed, &Ignore::default(), of_image, &mut lint);
}

/// Reads a `.dockerignore` and matches a path with it.
///
/// # Panics
///
/// When a walk from the top comes to another result than the path alone, though no pattern takes back.
pub fn ignore(patterns: &str, path: &str) {
    let Ok(ignore) = Ignore::parse(patterns) else {
        return;
    };
    let path = crate::context::ignore::clean(path);
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return;
    }
    let excluded = ignore.excludes(path);
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let walked = ignore.excludes_below(path, &ignore.above(parent)).0;
    // Where patterns take back, the two may differ, as in Docker.
    if !ignore.has_exceptions() {
        assert_eq!(excluded, walked, "{patterns:?} {path:?}");
    }
    assert!(
        !ignore.keeps_back(path) || excluded,
        "{patterns:?} {path:?}"
    );
}
