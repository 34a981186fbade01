use super::*;

fn parse(text: &str) -> Result<Registries, String> {
    Registries::parse(text.as_bytes(), Path::new("/data/registries.json"))
        .map_err(|error| berth_error::chain(&error))
}

#[test]
fn what_the_documentation_shows_is_understood() {
    let registries = parse(
        r#"{
          "registries": {
            "docker.io": { "mirrors": ["https://mirror.example.com/hub", "http://10.0.0.7:5000"] },
            "10.0.0.7:5000": { "plain_http": true },
            "old.example.com": { "skip_verify": true, "realms": ["login.example.net"], "upload_chunk_mb": 50 },
            "[::1]:5000": { "compression": "zstd" }
          },
          "default": "registry.example.com/team",
          "parallel": 2
        }"#,
    )
    .unwrap();
    assert_eq!(registries.parallel, 2);
    assert_eq!(
        registries.default.as_deref(),
        Some("registry.example.com/team")
    );
    assert_eq!(registries.host("docker.io").mirrors.len(), 2);
    assert!(registries.host("10.0.0.7:5000").plain_http);
    let old = registries.host("old.example.com");
    assert_eq!(old.upload_chunk, Some(50_000_000));
    let compression = registries.host("[::1]:5000").compression;
    assert_eq!(compression, Some(LayerCompression::Zstd));
    assert_eq!(registries.host("other"), HostConfig::default());
}

#[test]
fn every_mistake_names_the_file_and_the_field() {
    let cases = [
        ("[]", "`the whole file` must be an object"),
        (
            r#"{"registry": {}}"#,
            "`registry` is not a field of this file",
        ),
        (
            r#"{"parallel": 0}"#,
            "`parallel` must be a whole number from 1 to 64",
        ),
        (
            r#"{"default": "team"}"#,
            "`default` is not a host as image names have it",
        ),
        (r#"{"registries": []}"#, "`registries` must be an object"),
        (
            r#"{"registries": {"https://x.io": {}}}"#,
            "`registries.https://x.io` is not a host",
        ),
        (
            r#"{"registries": {"index.docker.io": {}}}"#,
            "`registries.index.docker.io` is written `docker.io`",
        ),
        (
            r#"{"registries": {"x.io": {"compression": "lz4"}}}"#,
            "`registries.x.io.compression` must be `gzip` or `zstd`",
        ),
        (
            r#"{"registries": {"x.io": {"mirror": []}}}"#,
            "`registries.x.io.mirror` is not a field of a registry",
        ),
        (
            r#"{"registries": {"x.io": {"mirrors": "x"}}}"#,
            "`registries.x.io.mirrors` must be a list",
        ),
        (
            r#"{"registries": {"x.io": {"mirrors": ["x"]}}}"#,
            "`registries.x.io.mirrors[0]` is not a URL",
        ),
        (
            r#"{"registries": {"x.io": {"mirrors": ["ftp://x"]}}}"#,
            "`registries.x.io.mirrors[0]` must begin with",
        ),
        (
            r#"{"registries": {"x.io": {"mirrors": ["https://a:b@x"]}}}"#,
            "must not have credentials",
        ),
        (
            r#"{"registries": {"x.io": {"plain_http": "yes"}}}"#,
            "`registries.x.io.plain_http` must be `true` or `false`",
        ),
        (
            r#"{"registries": {"x.io": {"ca": "/nowhere.pem"}}}"#,
            "`registries.x.io.ca` names `/nowhere.pem`, which is no file",
        ),
        (
            r#"{"registries": {"x.io": {"plain_http": true, "skip_verify": true}}}"#,
            "leave out `ca` and `skip_verify`",
        ),
        (
            r#"{"registries": {"x.io": {"realms": ["https://x"]}}}"#,
            "`registries.x.io.realms[0]` must be a host",
        ),
        (
            r#"{"registries": {"x.io": {"upload_chunk_mb": -1}}}"#,
            "`registries.x.io.upload_chunk_mb` must be a whole number",
        ),
        ("{", "`/data/registries.json` is not JSON: EOF"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("/data/registries.json"), "{error}");
    }
}

#[test]
fn without_a_file_everything_is_as_usual() {
    let data = tempfile::tempdir().unwrap();
    let registries = Registries::load(data.path()).unwrap();
    assert_eq!(registries.parallel, DEFAULT_PARALLEL);
    fs_err::create_dir(data.path().join(FILE)).unwrap();
    let error = Registries::load(data.path()).unwrap_err();
    assert!(error.to_string().starts_with("could not read"), "{error}");
}
