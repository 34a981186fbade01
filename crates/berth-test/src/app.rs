//! Static programs for images `FROM scratch`, compiled with the machine's own C compiler.

use std::path::PathBuf;
use std::process::Command;

use crate::World;

/// Where the source of a static program comes from.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Name of the executable, unique among the tests.
    pub name: &'static str,
    /// C source.
    pub source: &'static str,
}

/// Compiles a program once per content of its source; the path of the executable.
pub fn compile_static(world: &World, program: Program) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    program.source.hash(&mut hasher);
    let key = format!("{}-{:016x}", program.name, hasher.finish());
    let directory = world.cached(&key, |directory| {
        let source = directory.join("main.c");
        std::fs::write(&source, program.source).expect("write the source");
        let status = Command::new("gcc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
            .arg(directory.join(program.name))
            .arg(&source)
            .status()
            .expect("run gcc");
        assert!(status.success(), "{} does not compile", program.name);
    });
    directory.join(program.name)
}
