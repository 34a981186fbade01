//! `berth ssh`: a shell in a container. No daemon runs in it, no key is needed: it is `berth exec` of the
//! shell that the image has.

use std::process::ExitCode;

use berth_error::Report;
use berth_ssh::SHELL;

use super::exec::{self, Wanted};
use crate::cli::SshArgs;
use crate::paths::Paths;

pub(crate) async fn run(args: SshArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let script = match args.command.as_slice() {
        [] => SHELL.to_owned(),
        // As ssh has it: the words are one line for the shell there.
        words => words.join(" "),
    };
    let wanted = Wanted {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
        env: Vec::new(),
        workdir: None,
        user: args.user,
        no_tty: !args.command.is_empty(),
    };
    exec::at(&args.session, &args.server, &args.instance, wanted, paths).await
}
