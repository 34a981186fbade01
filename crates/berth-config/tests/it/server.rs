//! `berth.toml`.

use std::time::Duration;

use berth_config::{CertificateFiles, LogExport, ServerConfig};
use insta::assert_snapshot;

const DOCS: &str = include_str!("../../../../docs/configuration.md");

fn load(text: &str) -> Result<ServerConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    std::fs::write(&path, text).unwrap();
    let root = format!("{}/", dir.path().display());
    ServerConfig::load(&path).map_err(|errors| errors.render_plain().replace(&root, ""))
}

fn says(text: &str) -> String {
    load(text).unwrap_err()
}

/// The `toml` blocks of the documentation: the defaults, and an example.
fn documented() -> Vec<&'static str> {
    let blocks = DOCS.split("```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(load("").unwrap(), ServerConfig::default());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    assert_eq!(load(documented()[0]).unwrap(), ServerConfig::default());
}

#[test]
fn the_documented_example_is_read_whole() {
    let config = load(documented()[1]).unwrap();
    assert_eq!(config.base_domain, "apps.example.com");
    assert_eq!(config.listen.https.len(), 2);
    let CertificateFiles { certificate, .. } = &config.tls.certificates[0];
    assert!(certificate.is_absolute(), "{certificate:?}");
    assert!(config.acme.unwrap().terms_accepted);
    assert_eq!(config.gateway.trusted_proxies.len(), 2);
    assert_eq!(config.limits.memory, Some(64 << 30));
    assert_eq!(
        config.versions.max_age,
        Some(Duration::from_secs(90 * 86_400))
    );
    let size = |name| config.instance_types.get(name).unwrap();
    let big = size("big");
    assert_eq!((big.vcpu, big.memory_mib), (16.0, 65_536));
    assert_eq!(size("lite").memory_mib, 512);
    assert_eq!(size("basic").memory_mib, 1024);
}

#[test]
fn a_bucket_of_r2_has_a_name_and_an_address() {
    let config = load("[r2]\nbucket = \"bytes\"\nendpoint = \"https://s3.example.com\"\n");
    let r2 = config.unwrap().r2.unwrap();
    assert_eq!((r2.bucket.as_str(), r2.prefix.as_str()), ("bytes", "r2"));
    let wrong = says("[r2]\nendpoint = \"s3.example.com\"\n");
    assert!(wrong.contains("`r2.bucket` is missing"), "{wrong}");
    assert!(wrong.contains("`r2.endpoint` is no address"), "{wrong}");
}

#[test]
fn limits_of_connections_and_renewals_are_read() {
    let text = "[gateway]\nmax_connections = 12\n[acme]\nterms_accepted = true\n\
                renew_before = \"10d\"\n";
    let config = load(text).unwrap();
    assert_eq!(config.gateway.max_connections, 12);
    let before = config.acme.unwrap().renew_before;
    assert_eq!(before, Some(Duration::from_secs(10 * 86_400)));
    let wrong = says("[gateway]\nmax_connections = 0\n");
    assert!(wrong.contains("`gateway.max_connections`"), "{wrong}");
}

/// A key that is read is in the documentation: what is unknown is said together with what is known.
#[test]
fn every_key_is_documented() {
    for table in [
        "", "listen", "tls", "acme", "gateway", "deploy", "limits", "versions", "logs", "images",
        "prices", "r2",
    ] {
        let text = match table {
            "" => "zzzzzzzzzzzz = 1".to_owned(),
            "acme" => "[acme]\nterms_accepted = true\nzzzzzzzzzzzz = 1".to_owned(),
            table => format!("[{table}]\nzzzzzzzzzzzz = 1"),
        };
        let said = says(&text);
        let (_, known) = said.split_once("there is ").expect(&said);
        let keys: Vec<&str> = known.lines().next().unwrap().split(", ").collect();
        assert!(!keys.is_empty(), "{said}");
        for key in keys {
            let key = key.trim_matches('`');
            let row = if table.is_empty() {
                format!("| `{key}` |")
            } else {
                format!("| `{table}.{key}` |")
            };
            let row = row.replace("| `certificates` |", "| `tls.certificates` |");
            let is_table = table.is_empty() && DOCS.contains(&format!("| `{key}."));
            assert!(
                is_table || DOCS.contains(&row),
                "{row} is not in docs/configuration.md"
            );
        }
    }
}

#[test]
fn every_mistake_has_its_place() {
    assert_snapshot!(says(
        r#"base_domian = "example.com"
location = 7
[listen]
http = "8080"
https = ["0.0.0.0:443", 443]
api = "127.0.0.1:8082"
[tls]
redirect = "yes"
certificates = [{ certificate = "a.pem", keys = "b.pem" }]
[acme]
directory = "letsencrypt"
email = "me"
terms_accepted = false
domains = ["*.example.com"]
[gateway]
max_body_size = "10gb"
max_header_size = "1GiB"
header_timeout = 30
idle_timeout = "1 minute"
trusted_proxies = ["10.0.0.0/33"]
[limits]
memory = "lots"
vcpu = 0
[versions]
keep = 0
[instance_types.Big]
vcpu = 1
memory_mib = 1.5
[prices]
vcpu_second = -1
[loggs]
"#
    ), @r##"
    error: unknown field `base_domian` at the top level
     --> berth.toml:1:1
      |
    1 | base_domian = "example.com"
      | ^^^^^^^^^^^
    hint: did you mean `base_domain`?

    error: `location` must be a string, but is a number
     --> berth.toml:2:12
      |
    2 | location = 7
      |            ^
    hint: put the text in double quotes

    error: `listen` has the address 127.0.0.1:8082 twice
     --> berth.toml:3:1
      |
    3 | [listen]
      | ^^^^^^^^
    hint: choose another port for one of them

    error: `listen.http` is no address: `8080`
     --> berth.toml:4:8
      |
    4 | http = "8080"
      |        ^^^^^^
    hint: an IP address and a port, for example `127.0.0.1:8080` or `[::]:443`

    error: `listen.https[1]` must be a string, but is a number
     --> berth.toml:5:25
      |
    5 | https = ["0.0.0.0:443", 443]
      |                         ^^^
    hint: put the text in double quotes

    error: `tls.redirect` must be `true` or `false`, but is a string
     --> berth.toml:8:12
      |
    8 | redirect = "yes"
      |            ^^^^^
    hint: without quotes

    error: `tls.certificates[0].key` is missing
     --> berth.toml:9:17
      |
    9 | certificates = [{ certificate = "a.pem", keys = "b.pem" }]
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `key`

    error: unknown field `keys` in `tls.certificates[0]`
     --> berth.toml:9:42
      |
    9 | certificates = [{ certificate = "a.pem", keys = "b.pem" }]
      |                                          ^^^^
    hint: did you mean `key`?

    error: `acme.directory` must begin with `https://`
      --> berth.toml:11:13
       |
    11 | directory = "letsencrypt"
       |             ^^^^^^^^^^^^^
    hint: for example `https://acme-v02.api.letsencrypt.org/directory`

    error: `acme.email` is no e-mail address: `me`
      --> berth.toml:12:9
       |
    12 | email = "me"
       |         ^^^^
    hint: for example `you@example.com`

    error: `acme.terms_accepted` is `false`
      --> berth.toml:13:18
       |
    13 | terms_accepted = false
       |                  ^^^^^
    hint: read the authority's terms and write `true`, or remove `[acme]`

    error: `acme.domains[0]` is no host name: `*.example.com`
      --> berth.toml:14:12
       |
    14 | domains = ["*.example.com"]
       |            ^^^^^^^^^^^^^^^
    hint: letters, digits and `-` between dots, for example `apps.example.com`

    error: `gateway.max_body_size` has the unknown unit `gb`
      --> berth.toml:16:17
       |
    16 | max_body_size = "10gb"
       |                 ^^^^^^
    hint: did you mean `GB`?

    error: `gateway.max_header_size` is out of range
      --> berth.toml:17:19
       |
    17 | max_header_size = "1GiB"
       |                   ^^^^^^
    hint: from 8KiB to 256KiB

    error: `gateway.header_timeout` has no unit
      --> berth.toml:18:18
       |
    18 | header_timeout = 30
       |                  ^^
    hint: write a number and `ms`, `s`, `m`, `h` or `d` in double quotes, for example `"30s"`

    error: `gateway.idle_timeout` has the unknown unit `minute`
      --> berth.toml:19:16
       |
    19 | idle_timeout = "1 minute"
       |                ^^^^^^^^^^
    hint: units are `ms`, `s`, `m`, `h` or `d`

    error: `gateway.trusted_proxies[0]` is no network: `10.0.0.0/33`
      --> berth.toml:20:20
       |
    20 | trusted_proxies = ["10.0.0.0/33"]
       |                    ^^^^^^^^^^^^^
    hint: an address, or one with the length of its prefix, for example `10.0.0.0/8`

    error: `limits.memory` is no size: `lots`
      --> berth.toml:22:10
       |
    22 | memory = "lots"
       |          ^^^^^^
    hint: a number and `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`, for example `"64GiB"`

    error: `limits.vcpu` is out of range: 0
      --> berth.toml:23:8
       |
    23 | vcpu = 0
       |        ^
    hint: from 0.01 to 4096 virtual CPUs

    error: `versions.keep` cannot be 0
      --> berth.toml:25:8
       |
    25 | keep = 0
       |        ^
    hint: a whole number from 1 to 10000

    error: `instance_types.Big.disk_mb` is missing
      --> berth.toml:26:1
       |
    26 | [instance_types.Big]
       | ^^^^^^^^^^^^^^^^^^^^
    hint: add `disk_mb`

    error: an instance type cannot be called `Big`
      --> berth.toml:26:17
       |
    26 | [instance_types.Big]
       |                 ^^^
    hint: lower-case letters, digits and `-`; `custom` has another meaning

    error: `instance_types.Big.memory_mib` cannot be 1.5
      --> berth.toml:28:14
       |
    28 | memory_mib = 1.5
       |              ^^^
    hint: a whole number, 1 or more

    error: `prices.vcpu_second` is negative
      --> berth.toml:30:15
       |
    30 | vcpu_second = -1
       |               ^^
    hint: a price is 0 or more

    error: unknown field `loggs` at the top level
      --> berth.toml:31:2
       |
    31 | [loggs]
       |  ^^^^^
    hint: did you mean `logs`?
    "##);
}

#[test]
fn what_needs_something_else_says_so() {
    assert_snapshot!(says("[listen]\nhttps = \"0.0.0.0:443\"\n"), @r##"
    error: `listen.https` needs a certificate
     --> berth.toml:1:2
      |
    1 | [listen]
      |  ^^^^^^
    hint: add `[[tls.certificates]]` with `certificate` and `key`, or `[acme]`
    "##);
    assert_snapshot!(says("[tls]\nredirect = true\n"), @r##"
    error: `tls.redirect` leads to nowhere: nothing listens with TLS
     --> berth.toml:1:2
      |
    1 | [tls]
      |  ^^^
    hint: add `https = "0.0.0.0:443"` to `[listen]`
    "##);
    assert_snapshot!(says("[acme]\n"), @r##"
    error: `acme.terms_accepted` is missing
     --> berth.toml:1:1
      |
    1 | [acme]
      | ^^^^^^
    hint: add `terms_accepted`
    "##);
    assert_snapshot!(says("[listen\n"), @r##"
    error: unclosed table, expected `]`
     --> berth.toml:1:8
      |
    1 | [listen
      |        ^
    hint: TOML is made of `name = value`, `[table]` and `[[element]]`
    "##);
    assert_snapshot!(says("listen = 3\n"), @r##"
    error: `listen` must be an object, but is a number
     --> berth.toml:1:10
      |
    1 | listen = 3
      |          ^
    hint: write it as a table, or its fields between `{` and `}`
    "##);
    assert_snapshot!(says("[deploy]\ndrain = \"1m\"\n"), @r##"
    error: `deploy.drain` is not shorter than `gateway.hold`
     --> berth.toml:1:2
      |
    1 | [deploy]
      |  ^^^^^^
    hint: requests that wait for a new version would give up first: make `gateway.hold` longer
    "##);
}

#[test]
fn logs_go_to_several_places() {
    let text = r#"
[[logs.export]]
file = "out/logs.jsonl"
keep = 2

[[logs.export]]
url = "https://logs.example.com/in"
authorization_file = "token"

[[logs.export]]
bucket = "mine"
every = "5m"
"#;
    let config = load(text).unwrap();
    let [file, url, bucket] = &config.logs.export[..] else {
        panic!("{:?}", config.logs.export);
    };
    assert!(
        matches!(file, LogExport::File { path, max_bytes: 100_000_000, keep: 2 } if path.ends_with("out/logs.jsonl") && path.is_absolute()),
        "{file:?}"
    );
    assert!(
        matches!(url, LogExport::Http { url, authorization_file: Some(file) } if url.ends_with("/in") && file.ends_with("token")),
        "{url:?}"
    );
    assert!(
        matches!(bucket, LogExport::Bucket { name, prefix, endpoint: None, every } if name == "mine" && prefix == "logs" && every.as_secs() == 300),
        "{bucket:?}"
    );
    for (wrong, said) in [
        ("file = \"a\", url = \"http://b\"", "exactly one of"),
        ("keep = 3", "exactly one of"),
        ("url = \"ftp://b\"", "is no address"),
        ("file = \"a\", evry = \"1m\"", "evry"),
    ] {
        let error = load(&format!("[logs]\nexport = [{{ {wrong} }}]\n")).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
