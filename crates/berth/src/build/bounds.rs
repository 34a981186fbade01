//! How much of the machine a build may take, as the user says it: flags, and variables of the
//! environment for every build, also those of `berth dev`.

use std::time::Duration;

use berth_build::Bounds;
use berth_error::Report;
use clap::{Args, Parser, value_parser};

use crate::commands::registry::values;

/// Less memory than this starts nothing.
const LEAST_MEMORY: u64 = 16 << 20;

/// Limits of a build.
#[derive(Debug, Default, Args)]
pub(crate) struct BoundsFlags {
    /// Memory of each `RUN` [default: three quarters of the machine's]
    #[arg(short, long, env = "BERTH_BUILD_MEMORY", value_name = "SIZE", value_parser = memory)]
    memory: Option<u64>,
    /// Processes and threads of each `RUN` [default: 16384]
    #[arg(long, env = "BERTH_BUILD_PIDS_LIMIT", value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    pids_limit: Option<u32>,
    /// What stays free of the images' disk [default: 512MiB, or a twentieth of a smaller disk]
    #[arg(long, env = "BERTH_BUILD_DISK_RESERVE", value_name = "SIZE", value_parser = size)]
    disk_reserve: Option<u64>,
    /// How long the whole build may take, such as `90s` or `15m` [default: as long as it likes]
    #[arg(long, env = "BERTH_BUILD_TIMEOUT", value_name = "DURATION", value_parser = timeout)]
    timeout: Option<Duration>,
    /// How much output of each `RUN` is shown [default: 16MiB]
    #[arg(long, env = "BERTH_BUILD_OUTPUT_LIMIT", value_name = "SIZE", value_parser = size)]
    output_limit: Option<u64>,
}

/// The flags alone, which then come from the environment.
#[derive(Debug, Parser)]
#[command(name = "berth")]
struct Surroundings {
    #[command(flatten)]
    bounds: BoundsFlags,
}

impl BoundsFlags {
    /// The limits of a command without these flags.
    pub(crate) fn from_environment() -> Result<Bounds, Report> {
        match Surroundings::try_parse_from(["berth"]) {
            Ok(found) => Ok(found.bounds.bounds()),
            Err(error) => Err(Report::new(
                error
                    .render()
                    .to_string()
                    .trim()
                    .trim_start_matches("error: "),
                Some("it comes from a variable of the environment, `BERTH_BUILD_…`".to_owned()),
            )),
        }
    }

    /// What was said, and the defaults for the rest.
    pub(crate) fn bounds(&self) -> Bounds {
        let default = Bounds::default();
        Bounds {
            memory: self.memory.unwrap_or(default.memory),
            pids: self.pids_limit.unwrap_or(default.pids),
            disk_reserve: self.disk_reserve.unwrap_or(default.disk_reserve),
            time: self.timeout.or(default.time),
            output: self.output_limit.unwrap_or(default.output),
        }
    }
}

/// As everywhere in Berth, or as the docker command has it: `512m` and `2g` are powers of 1,024.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) =
        text.split_at(text.len() - usize::from(text.ends_with(['b', 'k', 'm', 'g'])));
    match unit {
        "b" => values::size(number),
        "k" | "m" | "g" if number.ends_with(|c: char| c.is_ascii_digit()) => {
            values::size(&format!("{number}{}iB", unit.to_ascii_uppercase()))
        }
        _ => values::size(text),
    }
}

fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < LEAST_MEMORY => Err("a step needs 16MiB at least".to_owned()),
        bytes => Ok(bytes),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        Duration::ZERO => Err("a build needs some time".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(arguments: &[&str]) -> Result<Bounds, clap::Error> {
        let arguments = ["berth"].iter().chain(arguments);
        Ok(Surroundings::try_parse_from(arguments)?.bounds.bounds())
    }

    #[test]
    fn each_flag_sets_its_limit() {
        let default = Bounds::default();
        assert_eq!(bounds(&[]).unwrap(), default);
        let all = [
            "--memory=2g",
            "--pids-limit=100",
            "--disk-reserve=1GB",
            "--timeout=15m",
            "--output-limit=64k",
        ];
        assert_eq!(
            bounds(&all).unwrap(),
            Bounds {
                memory: 2 << 30,
                pids: 100,
                disk_reserve: 1_000_000_000,
                time: Some(Duration::from_secs(900)),
                output: 64 << 10,
            }
        );
        assert_eq!(
            bounds(&["-m", "512m"]).unwrap(),
            Bounds {
                memory: 512 << 20,
                ..default
            }
        );
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_flag_s_name() {
        for (flag, value) in [
            ("--memory", "1m"),
            ("--memory", "much"),
            ("--memory", "é"),
            ("--memory", ""),
            ("--memory", "-2g"),
            ("--pids-limit", "0"),
            ("--pids-limit", "-1"),
            ("--disk-reserve", "10%"),
            ("--timeout", "0s"),
            ("--timeout", "15"),
            ("--output-limit", "2mm"),
        ] {
            let error = bounds(&[&format!("{flag}={value}")])
                .unwrap_err()
                .to_string();
            assert!(error.contains(flag), "{error}");
        }
    }
}
