use serde_json::json;

use super::*;

fn image() -> Value {
    json!({
        "Id": "sha256:ab",
        "Os": "linux",
        "Architecture": "amd64",
        "Size": 1234,
        "RepoTags": ["a:1", "b:2"],
        "RepoDigests": [],
        "RootFS": {"Layers": ["x", "y", "z"]},
        "Config": {"ExposedPorts": {"8080/tcp": {}}, "Labels": {"a.b": "c"}},
        "SecurityOptions": ["name=seccomp,profile=builtin"],
    })
}

fn apply(template: &str) -> String {
    Template::parse(template).unwrap().render(&image()).unwrap()
}

#[test]
fn what_wrangler_asks() {
    assert_eq!(apply("{{ json .RepoDigests }}"), "[]");
    assert_eq!(apply("{{ .Size }} {{ len .RootFS.Layers }}"), "1234 3");
    assert_eq!(apply("{{ .Os }}/{{ .Architecture }}"), "linux/amd64");
    assert_eq!(
        apply("{{ range .RepoTags }}{{ . }}\n{{ end }}"),
        "a:1\nb:2\n"
    );
    assert_eq!(apply("{{ len .Config.ExposedPorts }}"), "1");
    assert_eq!(
        apply("{{json .SecurityOptions}}"),
        r#"["name=seccomp,profile=builtin"]"#
    );
    assert_eq!(apply("{{.Id}}"), "sha256:ab");
}

#[test]
fn what_an_image_does_not_have_is_empty() {
    let none = json!({"Config": {}});
    let ports = Template::parse("{{ len .Config.ExposedPorts }}").unwrap();
    assert_eq!(ports.render(&none).unwrap(), "0");
    let labels = Template::parse("{{ json .Config.Labels }} {{.Config.Labels}}").unwrap();
    assert_eq!(labels.render(&none).unwrap(), "null <no value>");
}

#[test]
fn blocks_pipes_and_functions() {
    assert_eq!(apply("{{if .RepoTags}}yes{{else}}no{{end}}"), "yes");
    assert_eq!(apply("{{if .RepoDigests}}yes{{else}}no{{end}}"), "no");
    assert_eq!(apply("{{range .RepoDigests}}x{{else}}none{{end}}"), "none");
    assert_eq!(apply("{{range .RepoTags}}{{$.Os}} {{end}}"), "linux linux ");
    assert_eq!(apply("{{.Os | upper | json}}"), "\"LINUX\"");
    assert_eq!(apply("{{join .RepoTags \", \"}}"), "a:1, b:2");
    assert_eq!(apply("{{index .RepoTags 1}}"), "b:2");
    assert_eq!(apply("{{index .Config.Labels \"a.b\"}}"), "c");
    assert_eq!(apply("{{if eq .Os \"linux\"}}1{{end}}"), "1");
    assert_eq!(apply("{{if not (eq .Os `linux`)}}1{{end}}"), "");
    assert_eq!(apply("a {{- .Os -}} b"), "alinuxb");
    assert_eq!(apply("{{ \"}}\" }}"), "}}");
    assert_eq!(
        apply("{{.RepoTags}} {{.Config}}"),
        "[a:1 b:2] map[ExposedPorts:map[8080/tcp:map[]] Labels:map[a.b:c]]"
    );
}

#[test]
fn listings_have_escapes_and_json() {
    let row = json!({"ID": "ab", "Names": "x"});
    let render = |template: &str| {
        Template::of_listing(template)
            .unwrap()
            .render(&row)
            .unwrap()
    };
    assert_eq!(render("{{.ID}}"), "ab");
    assert_eq!(render("{{.ID}}\\t{{.Names}}"), "ab\tx");
    assert_eq!(render("json"), r#"{"ID":"ab","Names":"x"}"#);
    assert!(Template::of_listing("table {{.ID}}").is_err());
}

#[test]
fn what_is_not_understood_is_said() {
    for text in [
        "{{.Os",
        "{{end}}",
        "{{else}}",
        "{{if .Os}}",
        "{{range .Os}}{{else}}",
        "{{foo .Os}}",
        "{{}}",
        "{{.Os .Id}}",
        "{{(.Os}}",
        "{{.Os)}}",
        "{{|json}}",
        "{{.Os |}}",
        "{{$x}}",
        "{{$x := .Os}}",
        "{{\"a}}",
        "{{.a..b}}",
        "{{with .Os}}{{end}}",
    ] {
        let refused = Template::parse(text).unwrap_err();
        assert!(
            matches!(refused, TemplateError::Syntax(_)),
            "{text}: {refused}"
        );
    }
    for text in [
        "{{.Nothing}}",
        "{{.Os.X}}",
        "{{len .Size}}",
        "{{range .Os}}{{end}}",
        "{{index .RepoTags 9}}",
        "{{.Os | .Id}}",
    ] {
        let refused = Template::parse(text).unwrap().render(&image()).unwrap_err();
        assert!(
            matches!(refused, TemplateError::Evaluation(_)),
            "{text}: {refused}"
        );
    }
}
