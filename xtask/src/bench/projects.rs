//! The programs that are measured: a static binary and a Node app, with their projects in `bench/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::ci::root;

/// One measured program.
pub(crate) struct Program {
    pub(crate) name: String,
    /// The project, in a directory of its own.
    pub(crate) project: PathBuf,
    /// The program's executable, in the project or, from the root, in the image.
    executable: &'static str,
    arguments: Vec<String>,
}

impl Program {
    /// How to execute the program bare: the very file that runs in the container. Call it when the
    /// image has been made.
    pub(crate) fn bare(&self) -> anyhow::Result<Vec<String>> {
        let own = self.project.join(self.executable);
        let executable = if own.exists() {
            own
        } else {
            in_a_layer(self.executable)?
        };
        let executable = executable.display().to_string();
        Ok(std::iter::once(executable)
            .chain(self.arguments.iter().cloned())
            .collect())
    }
}

/// A file of an image that `berth dev` has in its data directory.
fn in_a_layer(path: &str) -> anyhow::Result<PathBuf> {
    let data = std::env::var_os("BERTH_DATA_DIR").map_or("/var/lib/berth".into(), PathBuf::from);
    for layer in fs_err::read_dir(data.join("layers"))? {
        let file = layer?.path().join("fs").join(path);
        if file.exists() {
            return Ok(file);
        }
    }
    anyhow::bail!("no image in `{}` has `{path}`", data.display())
}

/// The programs with a directory in `bench/`.
const PROGRAMS: [&str; 3] = ["static", "node", "python"];

/// Copies the projects to `directory` and compiles what must be compiled.
pub(crate) fn prepare(directory: &Path, names: &[String]) -> anyhow::Result<Vec<Program>> {
    let source = root().join("bench");
    let mut programs = Vec::new();
    for name in names.iter().map(String::as_str) {
        ensure!(
            PROGRAMS.contains(&name),
            "no program `{name}`: {PROGRAMS:?}"
        );
        let project = directory.join(name);
        fs_err::create_dir_all(project.join("src"))?;
        for file in ["src/index.ts", "tsconfig.json"] {
            fs_err::copy(source.join("worker").join(file), project.join(file))?;
        }
        let config = fs_err::read_to_string(source.join("worker/wrangler.jsonc"))?;
        fs_err::write(
            project.join("wrangler.jsonc"),
            config.replace("@name@", name),
        )?;
        for entry in fs_err::read_dir(source.join(name))? {
            let entry = entry?;
            fs_err::copy(entry.path(), project.join(entry.file_name()))?;
        }
        let (executable, arguments) = match name {
            "static" => {
                compile(&project)?;
                ("server", Vec::new())
            }
            "python" => (
                "usr/bin/python3.11",
                vec![project.join("server.py").display().to_string()],
            ),
            _ => (
                "usr/local/bin/node",
                vec![project.join("server.js").display().to_string()],
            ),
        };
        programs.push(Program {
            name: name.to_owned(),
            project,
            executable,
            arguments,
        });
    }
    Ok(programs)
}

fn compile(project: &Path) -> anyhow::Result<()> {
    let status = Command::new("gcc")
        .args(["-O2", "-static", "-o", "server", "server.c"])
        .current_dir(project)
        .status()
        .context("could not start gcc")?;
    ensure!(status.success(), "gcc failed: {status}");
    Ok(())
}
