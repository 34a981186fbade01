//! The programs that are measured: a static binary and a Node app, with their projects in `bench/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::ci::root;

/// One measured program.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The project, in a directory of its own.
    pub(crate) project: PathBuf,
    /// How to execute the program bare.
    pub(crate) bare: Vec<String>,
}

/// Copies the projects to `directory` and compiles what must be compiled.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<Vec<Program>> {
    let source = root().join("bench");
    let mut programs = Vec::new();
    for name in ["static", "node"] {
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
        let bare = match name {
            "static" => {
                compile(&project)?;
                vec![project.join("server").display().to_string()]
            }
            _ => vec![
                "node".to_owned(),
                project.join("server.js").display().to_string(),
            ],
        };
        programs.push(Program {
            name,
            project,
            bare,
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
