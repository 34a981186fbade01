//! How long a deployment takes, by `berth deploy` and by wrangler, of a Worker with a container.

use std::path::Path;

use super::DeployArgs;
use super::projects::prepare;
use super::server::{Server, Wrangler, install};
use super::stats::{Series, ms};
use super::table::{print, row};

pub(crate) fn run(args: &DeployArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let program = &prepare(directory.path(), &["static".to_owned()])?[0];
    let project = program.project.as_path();
    // wrangler has no copy of its own.
    install(project, &["@cloudflare/containers@0.3.7"])?;
    let server = Server::start()?;
    let wrangler = Wrangler::install()?;
    let berth = |project: &Path| server.berth(project, &["deploy"]);
    let theirs = |project: &Path| {
        let arguments = ["deploy", "--containers-rollout=immediate"];
        server.wrangler(&wrangler, project, &arguments)
    };
    let first = berth(project)?;
    let mut unchanged = Series::default();
    let mut worker = Series::default();
    let mut image = Series::default();
    let mut by_wrangler = [Series::default(), Series::default(), Series::default()];
    for round in 0..args.rounds {
        // What was deployed last may be wrangler's.
        berth(project)?;
        unchanged.push(berth(project)?);
        change(&project.join("src/index.ts"), "globalThis.berth =", round)?;
        worker.push(berth(project)?);
        // The image's only file is a program; what is behind its end is no part of it.
        change(&project.join("server"), "", round)?;
        image.push(berth(project)?);
        // The same for what is Berth's.
        theirs(project)?;
        by_wrangler[0].push(theirs(project)?);
        change(
            &project.join("src/index.ts"),
            "globalThis.wrangler =",
            round,
        )?;
        by_wrangler[1].push(theirs(project)?);
        change(&project.join("server"), "wrangler", round)?;
        by_wrangler[2].push(theirs(project)?);
    }
    let compared = |what: &str, ours: &Series, theirs: &Series, target: &str| {
        let figure = format!("{}, wrangler {}", ms(ours.median()), ms(theirs.median()));
        row(what, figure, target)
    };
    let [same, code, file] = &by_wrangler;
    print(
        &format!("deploy: median of {}", args.rounds),
        &[
            row("first", ms(first), ""),
            compared("nothing changed", &unchanged, same, "1 s"),
            compared("the Worker's code changed", &worker, code, "2 s"),
            compared("a file of the image changed", &image, file, "2 s"),
        ],
    );
    Ok(())
}

fn change(path: &Path, prefix: &str, round: usize) -> anyhow::Result<()> {
    let mut content = fs_err::read(path)?;
    content.extend_from_slice(format!("{prefix} {round}\n").as_bytes());
    // Not the file that may be executed at this moment, but another one in its place.
    let mode = fs_err::metadata(path)?.permissions();
    fs_err::remove_file(path)?;
    fs_err::write(path, content)?;
    fs_err::set_permissions(path, mode)?;
    Ok(())
}
