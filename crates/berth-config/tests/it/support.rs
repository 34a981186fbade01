//! A project in a temporary directory, and what loading it says.

use std::path::Path;

use berth_config::{LoadOptions, Loaded, Project, load};

/// A directory with `src/index.ts` and `Dockerfile`; gone when dropped.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        dir.write("src/index.ts", "export default {}");
        dir.write("Dockerfile", "FROM scratch");
        dir
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            directory: self.path().to_owned(),
            max_compatibility_date: Some("2026-11-17".to_owned()),
            ..LoadOptions::default()
        }
    }

    pub(crate) fn in_environment(&self, name: &str) -> LoadOptions {
        LoadOptions {
            environment: Some(name.to_owned()),
            ..self.options()
        }
    }

    /// Everything that is said, with paths relative to the directory.
    pub(crate) fn says(&self, options: &LoadOptions) -> String {
        let result = load(options);
        let (errors, warnings) = match &result {
            Ok(Loaded { warnings, .. }) => (&[][..], warnings),
            Err(errors) => (&errors.errors[..], &errors.warnings),
        };
        for finding in errors.iter().chain(warnings) {
            assert!(finding.hint.is_some(), "no hint: {finding}");
        }
        let text = match &result {
            Ok(_) => warnings
                .iter()
                .map(berth_config::Diagnostic::render_plain)
                .collect::<Vec<_>>()
                .join("\n"),
            Err(errors) => errors.render_plain(),
        };
        let root = self.path().display().to_string();
        text.replace(&format!("{root}/"), "").replace(&root, ".")
    }

    pub(crate) fn load(&self, options: &LoadOptions) -> Loaded {
        match load(options) {
            Ok(loaded) => loaded,
            Err(errors) => panic!("{}", errors.render_plain()),
        }
    }
}

/// What is said about the fields, next to the three that every project needs.
pub(crate) fn jsonc(fields: &str) -> String {
    let dir = Dir::new();
    dir.write("wrangler.jsonc", with_header_jsonc(fields));
    dir.says(&dir.options())
}

/// The same in TOML.
pub(crate) fn toml(fields: &str) -> String {
    let dir = Dir::new();
    dir.write("wrangler.toml", with_header_toml(fields));
    dir.says(&dir.options())
}

/// One mistake in both formats.
pub(crate) fn both(in_jsonc: &str, in_toml: &str) -> String {
    format!("{}\n{}", jsonc(in_jsonc), toml(in_toml))
}

/// The project of the fields; anything said is a failure.
pub(crate) fn project(fields: &str) -> Project {
    let dir = Dir::new();
    dir.write("wrangler.jsonc", with_header_jsonc(fields));
    quiet(&dir, &dir.options())
}

/// The project; anything said is a failure.
pub(crate) fn quiet(dir: &Dir, options: &LoadOptions) -> Project {
    assert_eq!(dir.says(options), "");
    dir.load(options).project
}

pub(crate) fn with_header_jsonc(fields: &str) -> String {
    format!(
        "{{\n  \"name\": \"app\",\n  \"main\": \"src/index.ts\",\n  \"compatibility_date\": \"2026-01-10\",\n{fields}\n}}"
    )
}

pub(crate) fn with_header_toml(fields: &str) -> String {
    format!(
        "name = \"app\"\nmain = \"src/index.ts\"\ncompatibility_date = \"2026-01-10\"\n{fields}\n"
    )
}

/// A binding and a migration for the class `Box`, to put next to a container.
pub(crate) const BOX: &str = r#"  "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }],"#;

/// A container of the class `Box` with these fields, and all that it needs.
pub(crate) fn boxed(fields: &str) -> String {
    format!(
        "{BOX}\n  \"containers\": [\n    {{ \"class_name\": \"Box\", \"image\": \"./Dockerfile\",\n      {fields} }}\n  ]"
    )
}
