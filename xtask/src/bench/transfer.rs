//! Pull and push of one image by Berth, `docker`, `podman` and `skopeo`, in turn, from and to Debian's
//! `docker-registry`.
//!
//! What counts is the whole command. Berth, Docker and podman have the image unpacked afterwards;
//! `skopeo copy` into a directory has its blobs only, checked against their digests. Berth has
//! everything on disk when it ends, the others leave that to the kernel, so pulls have two figures:
//! until the command ends, and until `sync` has ended after it.
//!
//! Each push goes to a registry with nothing in it. Docker and podman keep layers unpacked and
//! compress them at every push; Berth and skopeo keep the blobs that they pulled. An image that was
//! taken in as plain tars, as a build leaves it, has to be compressed by all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::TransferArgs;
use super::archive::{self, NAME, Packing};
use super::dev::executable;
use super::registry::{Server, docker as docker_registry};
use super::stats::{Series, ms};
use super::table::{print, row};
use super::tools::{Containers, Dockerd, install, output, policy, sync};

/// One client. Its own name for the image is its business.
trait Client {
    fn name(&self) -> &'static str;
    /// Whether a pulled image can be run.
    fn unpacks(&self) -> bool {
        true
    }
    fn pull(&self, image: &str) -> anyhow::Result<()>;
    /// Pushes what [`Client::pull`] brought, or [`Client::load`], under another name.
    fn push(&self, own: &str, image: &str) -> anyhow::Result<()>;
    /// Takes an archive of plain tars in; `false`: it has no store.
    fn load(&self, archive: &Path) -> anyhow::Result<bool>;
    /// Removes everything.
    fn forget(&self) -> anyhow::Result<()>;
}

pub(crate) fn run(args: &TransferArgs) -> anyhow::Result<()> {
    install(&["docker.io", "docker-registry", "podman", "runc", "skopeo"])?;
    let directory = tempfile::tempdir()?;
    println!("making images of {} MB", args.megabytes);
    let packings = [Packing::Gzip, Packing::Plain];
    let archives = archive::make(directory.path(), args.megabytes, args.layers, &packings)?;
    let (compressed, plain) = (&archives[0].1, &archives[1].1);
    let source = registry(directory.path(), "source")?;
    let image = format!("{}/bench:1", source.address);
    let seed = Berth::new(&directory.path().join("seed"))?;
    seed.load(compressed)?;
    seed.push(NAME, &image)?;
    drop(seed);

    let clients: Vec<Box<dyn Client>> = vec![
        Box::new(Berth::new(&directory.path().join("berth"))?),
        Box::new(Docker(Dockerd::start(directory.path())?)),
        Box::new(Podman(Containers::new("podman", directory.path())?)),
        Box::new(Skopeo::new(directory.path())?),
    ];
    let mut figures = Figures::new(clients.len());
    for round in 0..args.rounds {
        for turn in 0..clients.len() {
            let place = (round + turn) % clients.len();
            let client = clients[place].as_ref();
            let measured = Measured {
                directory: directory.path(),
                image: &image,
                plain,
            };
            measured.client(client, &mut figures.of[place])?;
        }
    }
    figures.print(&clients, args.megabytes);
    Ok(())
}

/// A registry with nothing in it.
fn registry(directory: &Path, name: &str) -> anyhow::Result<Server> {
    docker_registry(&directory.join("registries").join(name))
}

struct Measured<'a> {
    directory: &'a Path,
    image: &'a str,
    plain: &'a Path,
}

impl Measured<'_> {
    fn client(&self, client: &dyn Client, series: &mut [Series; 4]) -> anyhow::Result<()> {
        client.forget()?;
        sync()?;
        let began = Instant::now();
        client.pull(self.image)?;
        series[0].push(began.elapsed());
        sync()?;
        series[1].push(began.elapsed());
        series[2].push(self.push(client, self.image)?);
        client.forget()?;
        if client.load(self.plain)? {
            series[3].push(self.push(client, NAME)?);
            client.forget()?;
        }
        Ok(())
    }

    fn push(&self, client: &dyn Client, own: &str) -> anyhow::Result<Duration> {
        let target = registry(self.directory, "target")?;
        sync()?;
        let began = Instant::now();
        client.push(own, &format!("{}/pushed:1", target.address))?;
        let took = began.elapsed();
        drop(target);
        fs_err::remove_dir_all(self.directory.join("registries/target"))?;
        Ok(took)
    }
}

struct Figures {
    of: Vec<[Series; 4]>,
}

impl Figures {
    fn new(clients: usize) -> Self {
        Self {
            of: (0..clients).map(|_| Default::default()).collect(),
        }
    }

    fn print(&self, clients: &[Box<dyn Client>], megabytes: u64) {
        let what = [
            "pull, until it ends",
            "pull, until it is on disk",
            "push of what was pulled",
            "push of what was made here",
        ];
        let mut rows = Vec::new();
        for (place, what) in what.into_iter().enumerate() {
            let medians: Vec<_> = clients
                .iter()
                .zip(&self.of)
                .filter(|(_, series)| !series[place].is_empty())
                .map(|(client, series)| (client, series[place].median()))
                .collect();
            let shown: Vec<String> = medians
                .iter()
                .map(|(client, median)| format!("{} {}", client.name(), ms(*median)))
                .collect();
            rows.push(row(format!("{megabytes} MB, {what}"), shown.join(", "), ""));
            let [(_, own), others @ ..] = medians.as_slice() else {
                continue;
            };
            // Who does not unpack has less to do at a pull.
            let same = others
                .iter()
                .filter(|(client, _)| place > 1 || client.unpacks());
            if let Some(best) = same.map(|(_, median)| median).min() {
                let ratio = best.as_secs_f64() / own.as_secs_f64().max(1e-9);
                let what = format!("{what}: against the best of the others");
                rows.push(row(what, format!("{ratio:.2} ×"), "1 ×"));
            }
        }
        print("Pull and push", &rows);
    }
}

struct Berth {
    executable: PathBuf,
    data: PathBuf,
}

impl Berth {
    fn new(data: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            executable: executable()?,
            data: data.to_owned(),
        })
    }

    fn images(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.executable);
        command
            .arg("--data-dir")
            .arg(&self.data)
            .arg("images")
            .env("DOCKER_CONFIG", &self.data);
        output(command.args(arguments)).map(drop)
    }
}

impl Client for Berth {
    fn name(&self) -> &'static str {
        "Berth"
    }

    fn pull(&self, image: &str) -> anyhow::Result<()> {
        self.images(&["pull", "--quiet", image])
    }

    fn push(&self, own: &str, image: &str) -> anyhow::Result<()> {
        self.images(&["tag", own, image])?;
        self.images(&["push", "--quiet", image])
    }

    fn load(&self, archive: &Path) -> anyhow::Result<bool> {
        self.images(&["import", &archive.to_string_lossy()])?;
        Ok(true)
    }

    fn forget(&self) -> anyhow::Result<()> {
        self.images(&["prune", "--all"])
    }
}

struct Docker(Dockerd);

impl Client for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    fn pull(&self, image: &str) -> anyhow::Result<()> {
        output(self.0.command().args(["pull", "--quiet", image])).map(drop)
    }

    fn push(&self, own: &str, image: &str) -> anyhow::Result<()> {
        output(self.0.command().args(["tag", own, image]))?;
        output(self.0.command().args(["push", "--quiet", image])).map(drop)
    }

    fn load(&self, archive: &Path) -> anyhow::Result<bool> {
        output(self.0.command().args(["load", "--input"]).arg(archive))?;
        Ok(true)
    }

    fn forget(&self) -> anyhow::Result<()> {
        let mut command = self.0.command();
        output(command.args(["image", "prune", "--all", "--force"])).map(drop)
    }
}

struct Podman(Containers);

impl Podman {
    fn run(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.0.command();
        command.arg(verb);
        if matches!(verb, "pull" | "push" | "load") {
            command.arg("--signature-policy").arg(&self.0.policy);
        }
        output(command.args(arguments)).map(drop)
    }
}

impl Client for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn pull(&self, image: &str) -> anyhow::Result<()> {
        self.run("pull", &["--quiet", "--tls-verify=false", image])
    }

    fn push(&self, own: &str, image: &str) -> anyhow::Result<()> {
        self.run("push", &["--quiet", "--tls-verify=false", own, image])
    }

    fn load(&self, archive: &Path) -> anyhow::Result<bool> {
        self.run("load", &["--input", &archive.to_string_lossy()])?;
        // It does not take short names for Docker Hub's.
        let own = format!("localhost/{NAME}");
        self.run("tag", &[&own, NAME]).or_else(|_| {
            let own = format!("docker.io/{NAME}");
            self.run("tag", &[&own, NAME])
        })?;
        Ok(true)
    }

    fn forget(&self) -> anyhow::Result<()> {
        self.run("rmi", &["--force", "--all"])
    }
}

/// `skopeo copy`, to and from a directory.
struct Skopeo {
    policy: PathBuf,
    layout: PathBuf,
}

impl Skopeo {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("skopeo");
        fs_err::create_dir_all(&directory)?;
        Ok(Self {
            policy: policy(&directory)?,
            layout: directory.join("image"),
        })
    }

    fn copy(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let mut command = Command::new("skopeo");
        command
            .arg("--policy")
            .arg(&self.policy)
            .args(["copy", "--quiet"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        output(command.args([from, to])).map(drop)
    }

    fn own(&self) -> String {
        format!("dir:{}", self.layout.display())
    }
}

impl Client for Skopeo {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    fn unpacks(&self) -> bool {
        false
    }

    fn pull(&self, image: &str) -> anyhow::Result<()> {
        self.copy(&format!("docker://{image}"), &self.own())
    }

    fn push(&self, _: &str, image: &str) -> anyhow::Result<()> {
        self.copy(&self.own(), &format!("docker://{image}"))
    }

    fn load(&self, _: &Path) -> anyhow::Result<bool> {
        Ok(false)
    }

    fn forget(&self) -> anyhow::Result<()> {
        match fs_err::remove_dir_all(&self.layout) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
