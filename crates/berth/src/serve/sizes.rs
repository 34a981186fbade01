//! Sizes that objects choose when they start their containers (`instance` of `ctx.container.start()`).
//!
//! workerd 1.20261117.1 checks the size and tells its engine nothing. So the Worker is run with a module of
//! ours in front, which hands the size on in a variable that the engine takes out again. Everything else of
//! the Worker is as it was: the module exports what the main module exports.

use std::fmt::Write as _;
use std::path::Path;

use berth_error::{Report, ResultExt as _};
use berth_workerd::{Bundle, Module, ModuleKind};

/// Name of the module.
const NAME: &str = "berth-sizes.js";

/// Puts the module in front of a bundle; `classes` are those whose objects choose.
pub(super) fn hand_on(
    bundle: &mut Bundle,
    classes: &[&str],
    directory: &Path,
) -> Result<(), Report> {
    let Some(main) = bundle.modules.first() else {
        return Ok(());
    };
    if main.kind != ModuleKind::EsModule || classes.is_empty() {
        return Ok(());
    }
    let code = fs_err::read_to_string(&main.path).context("could not read the main module")?;
    let text = module(&main.name, &code, classes);
    let path = directory.join(NAME);
    fs_err::write(&path, text).context("could not write a module")?;
    bundle.modules.insert(
        0,
        Module {
            name: NAME.to_owned(),
            kind: ModuleKind::EsModule,
            path,
        },
    );
    Ok(())
}

fn module(main: &str, code: &str, classes: &[&str]) -> String {
    let main = serde_json::Value::from(format!("./{main}"));
    let mut text = format!(
        r#"import * as worker from {main};
export * from {main};
const known = new WeakSet();
function handOn(container) {{
  const kind = container && Object.getPrototypeOf(container);
  if (!kind || known.has(kind)) return;
  known.add(kind);
  const start = kind.start;
  kind.start = function (options) {{
    if (options?.instance === undefined) return start.call(this, options);
    const env = {{ ...options.env, {variable}: JSON.stringify(options.instance) }};
    return start.call(this, {{ ...options, env }});
  }};
}}
"#,
        variable = berth_docker::INSTANCE_VARIABLE
    );
    if exports_default(code) {
        let _ = writeln!(text, "export {{ default }} from {main};");
    }
    for class in classes {
        let _ = writeln!(
            text,
            "export class {class} extends worker.{class} {{\n  constructor(ctx, env) {{\n    \
             handOn(ctx.container);\n    super(ctx, env);\n  }}\n}}"
        );
    }
    text
}

/// As bundlers and people write it.
fn exports_default(code: &str) -> bool {
    let words: Vec<&str> = code.split_whitespace().collect();
    let written = |first: &str, second: &str| {
        words.windows(2).any(|two| {
            two[0].ends_with(first) && two[1].trim_end_matches([',', '}', ';']) == second
        })
    };
    let braced = |word: &&str| word.contains("{default}") || word.contains("{default,");
    written("as", "default")
        || written("export", "default")
        || written("{", "default")
        || words.iter().any(braced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_export_is_found() {
        for code in [
            "export default { fetch() {} }",
            "export {\n  A,\n  index_default as default\n};",
            "export {A as default};",
            "export { default } from './x'",
            "export {default} from './x'",
        ] {
            assert!(exports_default(code), "{code}");
        }
        let none = "switch (x) { default: y() }\nconst as = 1;\nexport { A };";
        assert!(!exports_default(none));
    }
}
