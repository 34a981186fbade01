//! Archives of images, taken in by Berth, `docker load` and `podman load`, in turn.
//!
//! What counts is the whole command. Berth has everything on disk when it ends; the other two leave
//! that to the kernel. So there are two figures: until the command ends, and until `sync` has ended
//! after it.

mod loaders;

use std::path::Path;
use std::time::{Duration, Instant};

use super::UnpackArgs;
use super::archive::{self, Packing};
use super::stats::{Series, ms};
use super::table::{print, row};
use super::tools::{self, Containers, Dockerd, sync};
use loaders::{Berth, Docker, Loader, Podman};

pub(crate) fn run(args: &UnpackArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    println!("making images of {} MB", args.megabytes);
    let archives = archive::make(
        directory.path(),
        args.megabytes,
        args.layers,
        &[Packing::Gzip, Packing::Zstd],
    )?;
    let mut loaders: Vec<Box<dyn Loader>> = vec![Box::new(Berth::new(directory.path())?)];
    if !args.alone {
        tools::install(&["docker.io", "podman", "runc"])?;
        let docker = Dockerd::start(directory.path())?;
        loaders.push(Box::new(Docker(docker)));
        let podman = Containers::new("podman", directory.path())?;
        loaders.push(Box::new(Podman(podman)));
    }
    let mut rows = Vec::new();
    for (packing, archive) in &archives {
        measure(*packing, archive, &loaders, args.rounds, &mut rows)?;
    }
    print("Taking in an image", &rows);
    Ok(())
}

fn measure(
    packing: Packing,
    archive: &Path,
    loaders: &[Box<dyn Loader>],
    rounds: usize,
    rows: &mut Vec<(String, String, String)>,
) -> anyhow::Result<()> {
    let able: Vec<_> = loaders
        .iter()
        .filter(|loader| loader.reads(packing))
        .collect();
    let mut ended: Vec<Series> = able.iter().map(|_| Series::default()).collect();
    let mut synced: Vec<Series> = able.iter().map(|_| Series::default()).collect();
    for _ in 0..rounds {
        for (place, loader) in able.iter().enumerate() {
            sync()?;
            let began = Instant::now();
            loader.load(archive)?;
            ended[place].push(began.elapsed());
            sync()?;
            synced[place].push(began.elapsed());
            loader.forget()?;
        }
    }
    let name = packing.name();
    for (what, series) in [("until it ends", &ended), ("until it is on disk", &synced)] {
        let each = able.iter().zip(series);
        let figures: Vec<String> = each
            .map(|(loader, series)| format!("{} {}", loader.name(), ms(series.median())))
            .collect();
        rows.push(row(
            format!("{name}, {what}, median"),
            figures.join(", "),
            "",
        ));
        let medians: Vec<Duration> = series.iter().map(Series::median).collect();
        if let [own, others @ ..] = medians.as_slice()
            && let Some(best) = others.iter().min()
        {
            let ratio = best.as_secs_f64() / own.as_secs_f64().max(1e-9);
            let what = format!("{name}, {what}: against the best of the others");
            rows.push(row(what, format!("{ratio:.2} ×"), "1 ×"));
        }
    }
    Ok(())
}
