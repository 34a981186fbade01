//! Memory of idle Workers on a server.

use super::AppsArgs;
use super::gateway::project;
use super::server::Server;
use super::system;
use super::table::{print, row};

pub(crate) fn run(args: &AppsArgs) -> anyhow::Result<()> {
    let server = Server::start()?;
    // The first one's memory is also that of code paths and caches.
    deploy(&server, "first")?;
    let before = Reading::of(&server)?;
    for number in 0..args.apps {
        deploy(&server, &format!("app-{number}"))?;
    }
    // What was only in use for starting them is given back.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = Reading::of(&server)?;
    for number in 0..args.apps {
        server.ask(&format!("app-{number}"), "/")?;
    }
    let each = |before: u64, after: u64| {
        let each = after.saturating_sub(before) as f64 / args.apps as f64;
        format!("{:.1} MiB", each / 1024.0)
    };
    print(
        &format!("{} idle Workers", args.apps),
        &[
            row("server, per Worker", each(before.server, after.server), ""),
            row(
                "workerd, per Worker",
                each(before.workerd, after.workerd),
                "",
            ),
            row(
                "in all",
                format!("{:.0} MiB", (after.server + after.workerd) as f64 / 1024.0),
                "",
            ),
            row("processes of workerd", after.processes.to_string(), ""),
        ],
    );
    Ok(())
}

fn deploy(server: &Server, name: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    project(directory.path(), name)?;
    server.berth(directory.path(), &["deploy"])?;
    server.ask(name, "/")
}

/// KiB of proportional set size.
struct Reading {
    server: u64,
    workerd: u64,
    processes: usize,
}

impl Reading {
    fn of(server: &Server) -> anyhow::Result<Self> {
        let workerds = server.workerds()?;
        Ok(Self {
            server: system::pss(server.pid()),
            workerd: workerds.iter().map(|pid| system::pss(*pid)).sum(),
            processes: workerds.len(),
        })
    }
}
