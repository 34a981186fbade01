//! Hostile Dockerfiles, contexts, archives and base images: whatever they try, nothing outside of the
//! build is touched or read. Every test has a canary among the host's files. Tests of a class that
//! has a CVE are named after it.

mod archives;
mod bounds;
mod canary;
mod context;
mod mounts;
mod steps;

use canary::Canary;

use crate::world::World;

/// A world with `corpus/base`, an image with a real shell, and a canary.
fn world() -> (World, Canary) {
    let world = World::new();
    let base = berth_conformance::base::make().unwrap();
    for (name, archive) in &base.archives {
        let path = world.directory.path().join("base.tar");
        std::fs::write(&path, archive).unwrap();
        world.store.import_archive(&path, Some(name)).unwrap();
    }
    (world, Canary::new())
}
