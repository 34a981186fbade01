//! The zygote alone, for this crate's tests: the `berth` program contains it.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_jail::zygote_main()
}
