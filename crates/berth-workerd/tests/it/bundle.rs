//! Bundling with the real esbuild.

use std::time::Instant;

use berth_config::ModuleRule;
use berth_workerd::{Bundle, BundleError, Bundler, ModuleKind};

use crate::world::World;

async fn bundle(world: &World) -> Result<Bundle, BundleError> {
    let toolchain = crate::world::toolchain().await;
    Bundler::new(&toolchain, &world.out())
        .bundle(&world.project)
        .await
}

fn content(bundle: &Bundle, index: usize) -> String {
    std::fs::read_to_string(&bundle.modules[index].path).unwrap()
}

#[tokio::test]
async fn typescript_and_file_imports_become_modules() {
    let world = World::new(&[
        (
            "src/index.ts",
            r#"
            import { greet } from "./lib";
            import text from "./a.txt";
            import html from "./b.html";
            import sql from "../sql/c.sql";
            import data from "./d.bin";
            import wasm from "./e.wasm?module";
            import { connect } from "cloudflare:sockets";
            import fs from "node:fs";
            import path from "path";
            enum Kind { A = 7 }
            export default { fetch: (): Response =>
                new Response([greet(Kind.A), text, html, sql, data, wasm, connect, fs, path].join()) };
            "#,
        ),
        (
            "src/lib.ts",
            "export const greet = (n: number): string => `hi ${n} ${process.env.NODE_ENV}`;",
        ),
        ("src/a.txt", "text"),
        ("src/b.html", "<p>"),
        ("sql/c.sql", "select 1"),
        ("src/d.bin", "\u{1}"),
        ("src/e.wasm", "\0asm"),
    ]);
    let result = bundle(&world).await.unwrap();
    let mut kinds: Vec<_> = result.modules[1..]
        .iter()
        .map(|module| {
            (
                module.name.rsplit('-').next().unwrap().to_owned(),
                module.kind,
            )
        })
        .collect();
    kinds.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("a.txt", ModuleKind::Text),
        ("b.html", ModuleKind::Text),
        ("c.sql", ModuleKind::Text),
        ("d.bin", ModuleKind::Data),
        ("e.wasm", ModuleKind::Wasm),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert_eq!(result.modules[0].name, "index.js");
    let main = content(&result, 0);
    assert!(
        main.contains("hi ${n} ${\"development\"}") || main.contains("\"development\""),
        "{main}"
    );
    assert!(
        main.contains("from \"node:path\"") && main.contains("from \"node:fs\""),
        "{main}"
    );
    assert!(main.contains("from \"cloudflare:sockets\""));
    assert!(result.source_map.as_ref().unwrap().is_file());
    assert_eq!(result.exports.unwrap(), ["default"]);
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    for input in [
        "src/index.ts",
        "src/lib.ts",
        "src/a.txt",
        "sql/c.sql",
        "src/e.wasm",
    ] {
        let input = world.root().join(input);
        assert!(
            result
                .watch_inputs
                .iter()
                .any(|path| path.canonicalize().unwrap() == input)
        );
    }
}

#[tokio::test]
async fn mistakes_are_reported_with_file_line_and_text() {
    let world = World::new(&[(
        "src/index.ts",
        "export default {\n  fetch( { return 1 }\n};\n",
    )]);
    let error = bundle(&world).await.unwrap_err();
    let BundleError::Source(text) = error else {
        panic!("{error}");
    };
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_missing_import_names_the_importing_line() {
    let world = World::new(&[("src/index.ts", "import './gone';\nexport default {};\n")]);
    let text = bundle(&world).await.unwrap_err().to_string();
    assert!(
        text.contains("Could not resolve \"./gone\"") && text.contains("src/index.ts:1:7"),
        "{text}"
    );
}

#[tokio::test]
async fn berths_own_containers_package_is_the_fallback_only() {
    let source = "import { Container } from '@cloudflare/containers';
        export class App extends Container {}
        export default {};";
    let mut world = World::new(&[("src/index.ts", source)]);
    world.project.containers = vec![crate::world::container("App")];
    let result = bundle(&world).await.unwrap();
    assert_eq!(result.notes.len(), 1);
    assert!(result.notes[0].contains("(0.3.7)"), "{:?}", result.notes);
    assert!(content(&result, 0).contains("containerFetch"));

    world.write(
        "node_modules/@cloudflare/containers/index.js",
        "export class Container { mine() {} }",
    );
    let result = bundle(&world).await.unwrap();
    assert!(result.notes.is_empty());
    assert!(content(&result, 0).contains("mine()"));
}

#[tokio::test]
async fn classes_that_are_not_exported_are_named() {
    let mut world = World::new(&[("src/index.ts", "class App {}\nexport default { App };\n")]);
    world.project.containers = vec![crate::world::container("App")];
    world.project.durable_objects = vec![crate::world::object("OTHER", "Other")];
    let text = bundle(&world).await.unwrap_err().to_string();
    assert!(
        text.contains("container class `App` is not exported by `src/index.ts`"),
        "{text}"
    );
    assert!(
        text.contains("Durable Object class `Other` is not exported by `src/index.ts`"),
        "{text}"
    );
}

#[tokio::test]
async fn own_rules_aliases_and_defines_apply() {
    let mut world = World::new(&[
        (
            "src/index.ts",
            "import page from './page.md';\nimport x from 'virtual';\nexport default { page, x, V: VERSION };\n",
        ),
        ("src/page.md", "# page"),
        ("lib/real.ts", "export default 'aliased';"),
    ]);
    let bundling = &mut world.project.bundle;
    bundling.rules = vec![ModuleRule {
        kind: "Text".to_owned(),
        globs: vec!["**/*.md".to_owned()],
        fallthrough: true,
    }];
    bundling
        .alias
        .insert("virtual".to_owned(), "./lib/real".to_owned());
    bundling
        .define
        .insert("VERSION".to_owned(), "\"1.2\"".to_owned());
    let result = bundle(&world).await.unwrap();
    assert_eq!(result.modules[1].kind, ModuleKind::Text);
    let main = content(&result, 0);
    assert!(
        main.contains("aliased") && main.contains("\"1.2\""),
        "{main}"
    );
}

#[tokio::test]
async fn built_ins_without_the_flag_are_explained() {
    let source = "import a from 'node:fs';\nexport default { a };\n";
    let mut world = World::new(&[("src/index.ts", source)]);
    world.project.compatibility_date = "2026-01-01".to_owned();
    let result = bundle(&world).await.unwrap();
    assert!(
        result.warnings[0].contains("nodejs_compat"),
        "{:?}",
        result.warnings
    );

    world.write(
        "src/index.ts",
        "import a from 'fs';\nexport default { a };\n",
    );
    let text = bundle(&world).await.unwrap_err().to_string();
    assert!(
        text.contains("add \"nodejs_compat\" to compatibility_flags"),
        "{text}"
    );
}

#[tokio::test]
async fn required_built_ins_become_imports() {
    let world = World::new(&[
        (
            "src/index.ts",
            "import join from './old.cjs';\nexport default { join };\n",
        ),
        ("src/old.cjs", "module.exports = require('path').join;\n"),
    ]);
    let result = bundle(&world).await.unwrap();
    assert!(content(&result, 0).contains("from \"node:path\""));
}

#[tokio::test]
async fn without_bundling_the_files_around_the_entry_point_are_modules() {
    let mut world = World::new(&[
        (
            "src/index.js",
            "import { x } from './sub/x.js';\nimport t from './t.txt';\nexport default { x, t };\n",
        ),
        ("src/sub/x.js", "export const x = 1;\n"),
        ("src/t.txt", "t"),
        ("src/ignored.ts", ""),
    ]);
    world.project.main = Some(world.root().join("src/index.js"));
    world.project.bundle.no_bundle = true;
    let result = bundle(&world).await.unwrap();
    let names: Vec<_> = result
        .modules
        .iter()
        .map(|module| module.name.as_str())
        .collect();
    assert_eq!(names, ["index.js", "sub/x.js", "t.txt"]);
}

#[tokio::test]
async fn the_build_command_runs_first_and_its_failure_is_shown() {
    let mut world = World::new(&[("src/a.txt", "x")]);
    let build = |command: &str| berth_config::CustomBuild {
        command: command.to_owned(),
        cwd: world.root(),
        watch_dirs: vec![world.root().join("src")],
    };
    let works = build("mkdir dist && echo 'export default {};' > dist/out.js");
    let fails = build("echo to stdout; echo to stderr >&2; exit 3");
    world.project.main = Some(world.root().join("dist/out.js"));
    world.project.bundle.custom_build = Some(works);
    let result = bundle(&world).await.unwrap();
    assert_eq!(result.modules[0].name, "out.js");
    assert_eq!(result.watch_inputs, [world.root().join("src")]);
    world.project.bundle.custom_build = Some(fails);
    let text = bundle(&world).await.unwrap_err().to_string();
    assert!(
        text.contains("exit status: 3\nto stdout\nto stderr"),
        "{text}"
    );
}

#[tokio::test]
async fn the_fingerprint_follows_the_modules_and_a_build_is_quick() {
    let world = World::new(&[("src/index.ts", "export default {};")]);
    let first = bundle(&world).await.unwrap();
    let start = Instant::now();
    let second = bundle(&world).await.unwrap();
    let took = start.elapsed();
    assert_eq!(first.fingerprint, second.fingerprint);
    world.write("src/index.ts", "export default { a: 1 };");
    assert_ne!(bundle(&world).await.unwrap().fingerprint, first.fingerprint);
    println!("a small Worker is bundled in {took:?}");
    // Generous: other tests compete for the processors.
    assert!(took.as_millis() < 2_000, "{took:?}");
}
