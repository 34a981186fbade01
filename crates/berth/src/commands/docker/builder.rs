//! `builder prune`: the build cache goes, as far as no build uses it.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use berth_error::{Report, ResultExt as _};
use berth_image::Policy;

use super::Target;
use super::args::PruneArgs;
use crate::host::open_store;
use crate::printer;

pub(super) async fn prune(target: &Target, args: PruneArgs) -> Result<ExitCode, Report> {
    let unused_for = args.filter.iter().map(|filter| until(filter));
    let unused_for = unused_for.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    let data = target.data_dir().await?;
    let store = open_store(&data)?;
    if !args.force && !confirmed()? {
        return Ok(ExitCode::FAILURE);
    }
    let policy = Policy {
        caches: true,
        unused_for,
        ..Policy::default()
    };
    let pruned = tokio::task::spawn_blocking(move || {
        let collected = store.collect(&policy)?;
        berth_build::sweep_records(&store);
        Ok::<_, Report>(collected)
    });
    let collected = pruned.await.context("the cache could not be pruned")??;
    let megabytes = collected.bytes / 100_000;
    let (whole, tenth) = (megabytes / 10, megabytes % 10);
    printer::line(format!("Total reclaimed space: {whole}.{tenth} MB"));
    Ok(ExitCode::SUCCESS)
}

/// Asks; without a terminal nobody could answer.
fn confirmed() -> Result<bool, Report> {
    if !std::io::stdin().is_terminal() {
        return Err(Report::new(
            "removing the build cache needs a yes, and there is no terminal to ask",
            Some("add `--force`".to_owned()),
        ));
    }
    let mut out = std::io::stderr();
    let question = "This will remove all build cache that is not in use. Continue? [y/N] ";
    let _ = out.write_all(question.as_bytes());
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("could not read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `until=24h`: what was not used for that long.
fn until(filter: &str) -> Result<Duration, Report> {
    let parsed = || {
        let text = filter.strip_prefix("until=")?;
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        number
            .parse::<u64>()
            .ok()?
            .checked_mul(seconds)
            .map(Duration::from_secs)
    };
    parsed().ok_or_else(|| {
        Report::new(
            format!("`--filter {filter}` is not understood"),
            Some("for example `--filter until=24h`".to_owned()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(until("until=24h").unwrap(), Duration::from_secs(86400));
        assert_eq!(until("until=90s").unwrap(), Duration::from_secs(90));
        for bad in ["until=", "until=5", "until=xh", "id=1", "until=5é"] {
            assert!(until(bad).is_err(), "{bad}");
        }
    }
}
