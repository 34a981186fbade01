//! A project in a temporary directory, and the tools, for the integration tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_config::{
    ContainerApp, Dev, DurableObjectBinding, Observability, Project, Resources, Spans,
};
use berth_workerd::Toolchain;
use indexmap::IndexMap;
use tempfile::TempDir;

/// The tools, in the cache that all tests of this build share.
pub async fn toolchain() -> Toolchain {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("berth-cache");
    Toolchain::ensure(&cache, |event| println!("{event:?}"))
        .await
        .unwrap()
}

/// A project on disk.
pub struct World {
    directory: TempDir,
    pub project: Project,
}

impl World {
    /// A project with these files whose entry point is `src/index.ts`.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let world = Self {
            project: project(&root),
            directory,
        };
        for (path, content) in files {
            world.write(path, content);
        }
        world
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn out(&self) -> PathBuf {
        self.root().join(".berth/generated/bundle")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn project(root: &Path) -> Project {
    Project {
        root: root.to_owned(),
        config_path: root.join("wrangler.jsonc"),
        environment: None,
        name: "my-app".to_owned(),
        main: Some(root.join("src/index.ts")),
        compatibility_date: "2026-11-01".to_owned(),
        compatibility_flags: Vec::new(),
        vars: IndexMap::new(),
        secrets: BTreeMap::new(),
        containers: Vec::new(),
        durable_objects: Vec::new(),
        classes: Vec::new(),
        kv_namespaces: Vec::new(),
        d1_databases: Vec::new(),
        queue_producers: Vec::new(),
        queue_consumers: Vec::new(),
        workflows: Vec::new(),
        crons: Vec::new(),
        assets: None,
        services: Vec::new(),
        observability: Observability::default(),
        dev: Dev {
            ip: None,
            port: None,
            enable_containers: true,
        },
        bundle: berth_config::Bundle::default(),
        spans: Spans::default(),
    }
}

pub fn object(name: &str, class_name: &str) -> DurableObjectBinding {
    DurableObjectBinding {
        name: name.to_owned(),
        class_name: class_name.to_owned(),
    }
}

pub fn container(class_name: &str) -> ContainerApp {
    ContainerApp {
        name: "my-app-container".to_owned(),
        class_name: class_name.to_owned(),
        image: None,
        images: IndexMap::new(),
        scheduling_policy: "default".to_owned(),
        instance_type: "lite".to_owned(),
        resources: Resources {
            vcpu: 0.0625,
            memory_mib: 256,
            disk_mb: 2000,
        },
        max_instances: 1,
        rollout_active_grace_period_s: 0,
        rollout_steps: vec![100],
        rollout_kind: "full_auto".to_owned(),
        regions: Vec::new(),
        jurisdiction: None,
    }
}
