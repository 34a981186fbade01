//! A large image of which a program needs little, from the registry to the program's last byte read;
//! and what a lazy start of it could save at most.
//!
//! Three things are measured in turn, each with a store that has nothing:
//! - the image as it is: pulled and unpacked, then started, and the program reads what it needs;
//! - an image with what the program needs and nothing else: what a lazy start would be if finding out
//!   what is needed, asking for it piece by piece and checking it cost nothing;
//! - those bytes fetched, as they are compressed, and thrown away: less is not possible.
//!
//! Registry and client are on this machine, so the network costs nothing. `--megabytes` at so many
//! bytes per second is to be added for a real one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fs_err::File;
use rand::SeedableRng as _;

use super::PullArgs;
use super::archive::{add_files, digest, pack};
use super::build::tools::base;
use super::dev::executable;
use super::registry;
use super::stats::{Series, ms};
use super::table::{print, row};
use super::tools::output;

/// What the program does.
const READ: &str = "cat $(find /needed -type f) | wc -c";

/// An image in the registry.
struct Image {
    reference: String,
    /// Bytes that the program reads.
    needed: u64,
}

pub(crate) fn run(args: &PullArgs) -> anyhow::Result<()> {
    let directory = match &args.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let directory = directory.path();
    let server = registry::berth(&directory.join("registry"))?;
    println!("making images of {} and {} MB", args.megabytes, args.needed);
    let base = base(directory)?;
    let needed = args.needed * 1_000_000;
    let image = |name: &str, layers: u64, unused: u64| {
        let reference = format!("{}/bench/{name}:1", server.address);
        publish(directory, &base, &reference, args, layers, unused)?;
        let needed = needed / layers * layers;
        anyhow::Ok(Image { reference, needed })
    };
    let whole = image("whole", args.layers, args.megabytes * 1_000_000 - needed)?;
    let part = image("part", 1, 0)?;

    let mut figures: [Series; 5] = Default::default();
    let [pull, start, part_pull, part_start, fetch] = &mut figures;
    for _ in 0..args.rounds {
        for (image, pull, start) in [
            (&whole, &mut *pull, &mut *start),
            (&part, &mut *part_pull, &mut *part_start),
        ] {
            let (pulled, started) = measure(&directory.join("data"), image)?;
            pull.push(pulled);
            start.push(started);
        }
        fetch.push(fetched(server.address)?);
    }
    let [pull, start, part_pull, part_start, fetch] = &figures;
    let all = |pull: &Series, start: &Series| pull.median() + start.median();
    let (now, least) = (all(pull, start), all(part_pull, part_start));
    let (whole, needed) = (args.megabytes, args.needed);
    let packing = args.packing.name();
    let times = |other: Duration| {
        let ratio = now.as_secs_f64() / other.as_secs_f64().max(1e-9);
        format!("{}: {ratio:.1} × less", ms(other))
    };
    print(
        "Pulling a large image",
        &[
            row(
                format!("{whole} MB ({packing}): pulled and unpacked, median"),
                ms(pull.median()),
                "",
            ),
            row(
                format!("{whole} MB: started, and {needed} MB read"),
                ms(start.median()),
                "",
            ),
            row(format!("{whole} MB: both"), ms(now), ""),
            row(
                format!("the {needed} MB alone: pulled, unpacked, started, read"),
                times(least),
                "",
            ),
            row(
                format!("the {needed} MB alone: fetched"),
                times(fetch.median()),
                "",
            ),
        ],
    );
    Ok(())
}

/// Makes an image in which what is needed is in every layer, and pushes it.
fn publish(
    directory: &Path,
    base: &Path,
    reference: &str,
    args: &PullArgs,
    layers: u64,
    unused: u64,
) -> anyhow::Result<()> {
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    // A name that ends differently: it becomes that of the compressed file.
    let bottom = directory.join("bottom.tar");
    fs_err::copy(base, &bottom)?;
    let mut tars: Vec<(PathBuf, String)> = vec![(bottom.clone(), digest(&bottom)?)];
    for layer in 0..layers {
        let path = directory.join(format!("{layer}.tar"));
        let mut tar = tar::Builder::new(std::io::BufWriter::new(File::create(&path)?));
        let (before, after) = (unused / layers / 2, unused / layers - unused / layers / 2);
        let needed = args.needed * 1_000_000 / layers;
        add_files(
            &mut tar,
            &format!("small-{layer}"),
            before,
            true,
            &mut random,
        )?;
        add_files(
            &mut tar,
            &format!("needed/{layer}"),
            needed,
            true,
            &mut random,
        )?;
        add_files(
            &mut tar,
            &format!("large-{layer}"),
            after,
            false,
            &mut random,
        )?;
        tar.into_inner()?.flush()?;
        let diff_id = digest(&path)?;
        tars.push((path, diff_id));
    }
    let archive = directory.join("archive.tar");
    pack(&archive, &tars, args.packing, reference)?;
    for (tar, _) in &tars {
        fs_err::remove_file(tar)?;
    }
    let data = directory.join("publisher");
    let berth = |arguments: &[&str]| {
        let mut command = berth(&data)?;
        output(command.arg("images").args(arguments))
    };
    let archive_text = archive.to_str().context("a path that is no text")?;
    berth(&["import", archive_text])?;
    berth(&["push", "--quiet", reference])?;
    fs_err::remove_file(&archive)?;
    Ok(fs_err::remove_dir_all(&data)?)
}

fn berth(data: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(executable()?);
    command
        .arg("--data-dir")
        .arg(data)
        .env_remove("DOCKER_HOST");
    Ok(command)
}

/// `berth engine`, ended when dropped.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Until the image is there, and until the program has ended.
fn measure(data: &Path, image: &Image) -> anyhow::Result<(Duration, Duration)> {
    fs_err::create_dir_all(data)?;
    let engine = berth(data)?
        .args(["engine", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("could not start berth engine")?;
    let engine = Engine(engine);
    let began = Instant::now();
    while output(berth(data)?.args(["docker", "version"])).is_err() {
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "berth engine does not answer"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    output(&mut Command::new("sync"))?;
    let began = Instant::now();
    output(berth(data)?.args(["images", "pull", "--quiet", &image.reference]))?;
    let pulled = began.elapsed();
    let began = Instant::now();
    let mut command = berth(data)?;
    command.args(["docker", "run", "--rm", &image.reference]);
    let read = output(command.args(["/bin/sh", "-c", READ]))?;
    let started = began.elapsed();
    ensure!(
        read.trim() == image.needed.to_string(),
        "the program read {} bytes",
        read.trim()
    );
    drop(engine);
    fs_err::remove_dir_all(data)?;
    Ok((pulled, started))
}

/// How long the bytes of the small image's layer are on their way.
fn fetched(address: SocketAddr) -> anyhow::Result<Duration> {
    let manifest = get(address, "manifests/1")?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    let layer = layers.last().and_then(|layer| layer["digest"].as_str());
    let layer = layer.context("no layer")?;
    let began = Instant::now();
    let bytes = get(address, &format!("blobs/{layer}"))?;
    let took = began.elapsed();
    ensure!(!bytes.is_empty(), "an empty layer");
    Ok(took)
}

/// The body of an answer of the registry.
fn get(address: SocketAddr, what: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!(
        "GET /v2/bench/part/{what} HTTP/1.1\r\nHost: localhost\r\n\
         Accept: application/vnd.oci.image.manifest.v1+json, \
         application/vnd.docker.distribution.manifest.v2+json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.context("no answer")?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{what} is not there");
    Ok(answer.split_off(end + 4))
}
