//! A build's result → files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::plugin::Collected;
use super::{BuildOptions, Bundle, BundleError, Module, ModuleKind, main_module_name};
use crate::esbuild::Value;

/// Writes esbuild's output and the collected modules below the output directory.
pub(super) fn bundle(
    options: &BuildOptions<'_>,
    main: &Path,
    reply: &Value,
    collected: &BTreeMap<String, Collected>,
) -> Result<Bundle, BundleError> {
    let mut bundle = Bundle::default();
    let mut fingerprint = Fingerprint::default();
    let main = options.out_dir.join(main_module_name(main));
    // The entry point comes first: workerd runs the first module.
    let mut outputs: Vec<_> = reply.get("outputFiles").list().iter().collect();
    outputs.sort_by_key(|output| Path::new(output.get("path").text()) != main);
    for output in outputs {
        let path = PathBuf::from(output.get("path").text());
        let Value::Bytes(content) = output.get("contents") else {
            continue;
        };
        write(&path, content)?;
        if path.extension().is_some_and(|extension| extension == "map") {
            if path.with_extension("") == main {
                bundle.source_map = Some(path);
            }
            continue;
        }
        let name = path.strip_prefix(options.out_dir).unwrap_or(&path);
        let name = name.to_string_lossy().into_owned();
        fingerprint.add(&name, content);
        let kind = ModuleKind::EsModule;
        bundle.modules.push(Module { name, kind, path });
    }
    for (name, module) in collected {
        let path = module_path(options.out_dir, name);
        write(&path, &module.content)?;
        fingerprint.add(name, &module.content);
        bundle.watch_inputs.push(module.source.clone());
        let name = name.clone();
        bundle.modules.push(Module {
            name,
            kind: module.kind,
            path,
        });
    }
    bundle.fingerprint = fingerprint.finish();
    Ok(bundle)
}

/// The file of a module: its name, which may not lead out of the directory.
pub(super) fn module_path(out_dir: &Path, name: &str) -> PathBuf {
    let parts = name
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."));
    out_dir.join(parts.collect::<PathBuf>())
}

/// Writes a file, unless it has that content already.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), BundleError> {
    let error = |source| BundleError::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    if fs_err::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs_err::create_dir_all(directory).map_err(error)?;
    }
    fs_err::write(path, content).map_err(error)
}

/// A hash over names and contents of modules.
#[derive(Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        for part in [name.as_bytes(), content] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(super) fn finish(self) -> String {
        let digest = self.0.finalize();
        digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
