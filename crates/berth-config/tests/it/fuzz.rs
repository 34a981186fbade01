//! Whatever stands in a file, loading ends with a project or with messages that can be shown.

use berth_config::load;
use proptest::prelude::*;

use crate::support::Dir;

/// Pieces that lead deeper into the decoders than noise does.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("name".to_owned()),
        Just("containers".to_owned()),
        Just("class_name".to_owned()),
        Just("instance_type".to_owned()),
        Just("rollout_step_percentage".to_owned()),
        Just("migrations".to_owned()),
        Just("exports".to_owned()),
        Just("durable_objects".to_owned()),
        Just("bindings".to_owned()),
        Just("queues".to_owned()),
        Just("assets".to_owned()),
        Just("dev".to_owned()),
        Just("triggers".to_owned()),
        Just("crons".to_owned()),
        Just("env".to_owned()),
        Just("vars".to_owned()),
        Just("* * * * *".to_owned()),
        Just("durable-object".to_owned()),
        Just("Box".to_owned()),
        "[^\"\\\\]{0,8}",
    ]
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        fragment().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((fragment(), inner), 0..6)
                .prop_map(|members| { serde_json::Value::Object(members.into_iter().collect()) }),
        ]
    })
}

fn show(name: &str, bytes: &[u8]) {
    let dir = Dir::new();
    dir.write(name, bytes);
    for options in [dir.options(), dir.in_environment("Box")] {
        match load(&options) {
            Ok(loaded) => {
                for warning in loaded.warnings {
                    assert!(warning.hint.is_some(), "{warning}");
                    assert!(!warning.render_plain().is_empty());
                }
            }
            Err(errors) => {
                assert!(!errors.errors.is_empty());
                assert!(!errors.render().is_empty());
                for error in errors.errors.iter().chain(&errors.warnings) {
                    assert!(error.hint.is_some(), "{error}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        show("wrangler.jsonc", &bytes);
        show("wrangler.toml", &bytes);
        show(".dev.vars", &bytes);
    }

    #[test]
    fn text_like_json_never_panics(text in "[{}\\[\\]\":,a-c0-9\\\\\n/*. -]{0,80}") {
        show("wrangler.json", text.as_bytes());
    }

    #[test]
    fn text_like_toml_never_panics(text in "[{}\\[\\]\"'=,a-c0-9\\\\\n#. -]{0,80}") {
        show("wrangler.toml", text.as_bytes());
    }

    #[test]
    fn trees_never_panic(members in prop::collection::vec((fragment(), tree()), 0..8)) {
        let root = serde_json::Value::Object(members.into_iter().collect());
        show("wrangler.jsonc", root.to_string().as_bytes());
    }
}
