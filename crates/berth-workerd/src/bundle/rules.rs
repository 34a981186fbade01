//! `rules`: which imports become modules of their own, and of what kind.

use berth_config::ModuleRule;

use super::ModuleKind;

/// The rules in force for one project, as wrangler derives them from the project's own and its
/// defaults: of the rules of one kind, those after the first without `fallthrough` are removed.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Kind and globs.
    pub(super) active: Vec<(ModuleKind, Vec<String>)>,
    /// Rules that no longer count; an import that only these match is a mistake.
    pub(super) removed: Vec<(ModuleKind, Vec<String>)>,
    /// Warnings about removed rules.
    pub(super) warnings: Vec<String>,
}

/// The rules that every project has after its own.
fn defaults() -> [ModuleRule; 3] {
    let rule = |kind: &str, globs: &[&str]| ModuleRule {
        kind: kind.to_owned(),
        globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        fallthrough: true,
    };
    [
        rule("Text", &["**/*.txt", "**/*.html", "**/*.sql"]),
        rule("Data", &["**/*.bin"]),
        rule("CompiledWasm", &["**/*.wasm", "**/*.wasm?module"]),
    ]
}

/// The kind a rule's `type` stands for; `None` for Python's, which are refused elsewhere.
fn kind(name: &str) -> Option<ModuleKind> {
    Some(match name {
        "ESModule" => ModuleKind::EsModule,
        "CommonJS" => ModuleKind::CommonJs,
        "CompiledWasm" => ModuleKind::Wasm,
        "Text" => ModuleKind::Text,
        "Data" => ModuleKind::Data,
        _ => return None,
    })
}

impl Rules {
    pub(super) fn new(own: &[ModuleRule]) -> Self {
        let mut rules = Self {
            active: Vec::new(),
            removed: Vec::new(),
            warnings: Vec::new(),
        };
        let mut completed: Vec<ModuleKind> = Vec::new();
        for rule in own.iter().chain(&defaults()) {
            let Some(kind) = kind(&rule.kind) else {
                continue;
            };
            if completed.contains(&kind) {
                rules.warnings.push(format!(
                    "the module rule for {} is ignored: an earlier rule of type {} has no \
                     `\"fallthrough\": true`",
                    rule.globs.join(", "),
                    rule.kind
                ));
                rules.removed.push((kind, rule.globs.clone()));
                continue;
            }
            rules.active.push((kind, rule.globs.clone()));
            if !rule.fallthrough {
                completed.push(kind);
            }
        }
        rules
    }
}

/// A glob as wrangler matches it against an import: any run of `*` is anything at all, everything
/// else is itself. Written for Go's and Rust's regular expressions.
pub(super) fn import_regex(glob: &str) -> String {
    let mut regex = "^".to_owned();
    for (index, literal) in glob.split('*').enumerate() {
        // Between the stars of `**` there is an empty literal: one `.*` is enough.
        if index > 0 && !regex.ends_with(".*") {
            regex.push_str(".*");
        }
        regex.push_str(&escape(literal));
    }
    regex.push('$');
    regex
}

/// A literal as a regular expression.
pub(super) fn escape(literal: &str) -> String {
    let mut regex = String::with_capacity(literal.len());
    for char in literal.chars() {
        if r".+?()[]{}|^$\*-".contains(char) {
            regex.push('\\');
        }
        regex.push(char);
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: &str, glob: &str, fallthrough: bool) -> ModuleRule {
        ModuleRule {
            kind: kind.to_owned(),
            globs: vec![glob.to_owned()],
            fallthrough,
        }
    }

    #[test]
    fn a_rule_without_fallthrough_hides_the_default_of_its_kind_only() {
        let rules = Rules::new(&[rule("Text", "**/*.md", false)]);
        assert_eq!(rules.active.len(), 3);
        assert_eq!(
            rules.active[0],
            (ModuleKind::Text, vec!["**/*.md".to_owned()])
        );
        assert_eq!(rules.removed.len(), 1);
        assert!(rules.warnings[0].contains("**/*.txt, **/*.html, **/*.sql"));
    }

    #[test]
    fn a_rule_with_fallthrough_adds_to_the_defaults() {
        let rules = Rules::new(&[rule("Text", "**/*.md", true)]);
        assert_eq!(rules.active.len(), 4);
        assert!(rules.removed.is_empty() && rules.warnings.is_empty());
    }

    #[test]
    fn globs_become_anchored_expressions() {
        assert_eq!(import_regex("**/*.wasm?module"), r"^.*/.*\.wasm\?module$");
        assert_eq!(import_regex("a+b/*.{x}"), r"^a\+b/.*\.\{x\}$");
    }
}
