//! Builds of the same Dockerfiles by Berth, `docker build` (BuildKit) and `buildah`, in turn.
//!
//! What counts is the whole command, from its start to its end. File systems are flushed between the
//! measurements, outside of them, so that nobody pays for what another one wrote.

mod context;
pub(super) mod tools;

use std::time::{Duration, Instant};

use super::BuildArgs;
use super::stats::{Series, ms};
use super::table::{print, row};
use super::tools::{install, sync};
use context::Context;
use tools::{Berth, Buildah, Docker, Tool};

/// A build where nothing changed.
const UNCHANGED: Duration = Duration::from_millis(100);
/// How many times faster than the better of the others a build with one changed file is.
const CHANGED: f64 = 3.0;

pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let context = Context::make(&directory.path().join("context"), args.megabytes)?;
    let mut tools: Vec<Box<dyn Tool>> = Vec::new();
    let base = tools::base(directory.path())?;
    tools.push(Box::new(Berth::start(directory.path(), &base)?));
    if !args.alone {
        install(&["docker.io", "buildah", "runc", "iptables"])?;
        tools.push(Box::new(Docker::start(directory.path(), &base)?));
        tools.push(Box::new(Buildah::start(directory.path(), &base)?));
    }

    // The first builds fill the caches, and are no part of the figures.
    for tool in &tools {
        tool.build(&context.path, "app")?;
    }
    let unchanged = rounds(&tools, args.rounds, |_, tool| {
        time(|| tool.build(&context.path, "app"))
    })?;
    let changed = rounds(&tools, args.rounds, |round, tool| {
        context.change(&format!("{round} {}", tool.name()))?;
        time(|| tool.build(&context.path, "app"))
    })?;
    let stages = context::stages(&directory.path().join("stages"))?;
    let cold = rounds(&tools, args.cold_rounds, |round, tool| {
        context::renew(&stages, &format!("{round} {}", tool.name()))?;
        tool.forget()?;
        time(|| tool.build(&stages, "stages"))
    })?;

    let mut rows = Vec::new();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name()).collect();
    let figures = |series: &[Series]| {
        let each = names.iter().zip(series);
        each.map(|(name, series)| format!("{name} {}", ms(series.median())))
            .collect::<Vec<_>>()
            .join(", ")
    };
    rows.push(row(
        "nothing changed, median",
        figures(&unchanged),
        ms(UNCHANGED),
    ));
    let what = format!("one changed file in {} MB, median", args.megabytes);
    rows.push(row(what, figures(&changed), ""));
    rows.push(row("cold, several stages, median", figures(&cold), ""));
    if tools.len() > 1 {
        let ratio = |series: &[Series]| {
            let others = series.iter().skip(1).map(Series::median).min();
            let own = series.first().map(Series::median).unwrap_or_default();
            others.unwrap_or_default().as_secs_f64() / own.as_secs_f64().max(1e-9)
        };
        let times = |ratio: f64| format!("{ratio:.2} ×");
        let against = "against the better of the two";
        rows.push(row(
            format!("nothing changed, {against}"),
            times(ratio(&unchanged)),
            "",
        ));
        let target = format!("{CHANGED:.0} ×");
        rows.push(row(
            format!("one changed file, {against}"),
            times(ratio(&changed)),
            target,
        ));
        rows.push(row(format!("cold, {against}"), times(ratio(&cold)), "1 ×"));
    }
    print("build", &rows);
    Ok(())
}

/// What each tool takes in each round, tool by tool; in every round each tool has its turn.
fn rounds(
    tools: &[Box<dyn Tool>],
    rounds: usize,
    measure: impl Fn(usize, &dyn Tool) -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Series>> {
    let mut series = vec![Series::default(); tools.len()];
    for round in 0..rounds {
        for (tool, series) in tools.iter().zip(&mut series) {
            sync()?;
            series.push(measure(round, tool.as_ref())?);
        }
    }
    Ok(series)
}

fn time(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed())
}
