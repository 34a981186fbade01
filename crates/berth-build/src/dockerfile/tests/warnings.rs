//! Lint rules that need nothing but the file; those about values are in [`crate::evaluate`]'s tests.

use super::*;
use crate::lint::Rule;

fn rules(text: &str) -> Vec<(usize, &'static str)> {
    let plan = Plan::new(parse(text).unwrap(), &BTreeMap::new()).unwrap();
    let warnings = plan.lint.warnings().into_iter();
    warnings
        .map(|warning| (warning.line, warning.rule.map_or("", Rule::name)))
        .collect()
}

#[test]
fn rules_find_their_lines() {
    for (text, expected) in [
        ("FROM a AS Build\n", &[(1, "StageNameCasing")][..]),
        ("FROM a as b\n", &[(1, "FromAsCasing")]),
        ("from a AS b\n", &[(1, "FromAsCasing")]),
        ("from a as b\n", &[]),
        ("FROM a\nRUN a \\\n\n b\n", &[(4, "NoEmptyContinuation")]),
        (
            "FROM a\nrun b\nRUN c\n",
            &[(2, "ConsistentInstructionCasing")],
        ),
        ("FROM a\nRun b\n", &[(2, "ConsistentInstructionCasing")]),
        (
            "from a\nrun b\nRUN c\n",
            &[(3, "ConsistentInstructionCasing")],
        ),
        ("FROM a AS b\nFROM c AS b\n", &[(2, "DuplicateStageName")]),
        ("FROM a AS scratch\n", &[(1, "ReservedStageName")]),
        ("FROM a\nMAINTAINER b\n", &[(2, "MaintainerDeprecated")]),
        (
            "FROM a\nENV b c\nLABEL d e\n",
            &[(2, "LegacyKeyValueFormat"), (3, "LegacyKeyValueFormat")],
        ),
        (
            "FROM a\nENV API_KEY=x\nARG TOKEN\n",
            &[(2, "SecretsUsedInArgOrEnv"), (3, "SecretsUsedInArgOrEnv")],
        ),
        ("ARG A=a\nFROM $AA\n", &[]),
        ("ARG V=1\nFROM a:$v$V\n", &[(2, "UndefinedArgInFrom")]),
        ("ARG V\nFROM a:$V\n", &[(2, "InvalidDefaultArgInFrom")]),
        ("ARG V=1\nFROM a:$V\n", &[]),
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            &[(1, "RedundantTargetPlatform")],
        ),
        (
            "FROM --platform=linux/amd64 a\n",
            &[(1, "FromPlatformFlagConstDisallowed")],
        ),
        ("FROM --platform=linux/amd64 a AS a-amd64\n", &[]),
        ("FROM --platform=$BUILDPLATFORM a\n", &[]),
        (
            "# check=experimental=all\n# hello\nFROM a AS b\n",
            &[(3, "InvalidDefinitionDescription")],
        ),
        ("# check=experimental=all\n# b is it\nFROM a AS b\n", &[]),
        ("# hello\nFROM a AS b\n", &[]),
    ] {
        if text.contains("$AA") {
            assert!(Plan::new(parse(text).unwrap(), &BTreeMap::new()).is_err());
            continue;
        }
        assert_eq!(rules(text), expected, "{text}");
    }
}

#[test]
fn rules_can_be_turned_off() {
    assert_eq!(rules("# check=skip=StageNameCasing\nFROM a AS B\n"), []);
    assert_eq!(rules("# check=skip=all\nFROM a AS B\n"), []);
    assert_eq!(
        rules("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER b\nMAINTAINER c\n"),
        [(4, "MaintainerDeprecated")]
    );
    let plan = parse("# check=error=true\nFROM a AS B\n").unwrap();
    let problem = plan.lint.failure(|_| "FROM a AS B".to_owned()).unwrap_err();
    assert_eq!(problem.line, 2);
    assert!(
        problem.problem.contains("StageNameCasing"),
        "{}",
        problem.problem
    );
}
