//! `ADD` over HTTPS and ssh: a server with an authority of its own, in front of a file, a repository as
//! plain files and one behind git's own server; an sshd; key files instead of an agent.
//!
//! What a user hands over in the environment (`SSL_CERT_FILE`, `GIT_SSH_COMMAND`) a test gives to a
//! process of its own.

use std::path::PathBuf;
use std::process::Command;

use crate::https::Https;
use crate::repository::Repository;
use crate::sshd::Sshd;
use crate::world::World;

/// Runs a test of this file, which is ignored otherwise, with variables of its environment.
fn in_process(name: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("given by the test that starts this one")
}

/// Everything that is fetched from the server.
fn everything(base: &str, commit: &str) -> String {
    format!(
        "FROM base\n\
         ADD {base}/files/data.txt /file\n\
         ADD {base}/plain/repository.git /plain\n\
         ADD {base}/smart/repository.git#v1:docs /smart\n\
         ADD --keep-git-dir --checksum={commit} {base}/smart/repository.git?tag=v1 /kept\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_repositories_come_over_https_from_an_authority_of_ones_own() {
    let world = World::new();
    let repository = Repository::make(&world.directory.path().join("repositories"));
    let server = Https::serve(repository.root());
    let dockerfile = everything(&server.url(), repository.first());
    // Nobody has said that the authority is to be trusted.
    for line in dockerfile.lines().skip(1).take(3) {
        let report = world.fail(&format!("FROM base\n{line}\n")).await;
        assert!(
            report.contains("certificate") && report.contains("SSL_CERT_FILE=bundle.pem"),
            "{line}: {report}"
        );
    }
    let mut request = world.request(&dockerfile);
    request.ca_bundle = Some(server.authority(world.directory.path()));
    let built = world.run(&request).await.unwrap();
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("file"), "from the server");
    assert_eq!(tree.read("plain/docs/api/file"), "two");
    assert_eq!(tree.read("smart/api/file"), "one");
    assert!(tree.path("kept/.git/HEAD").is_some() && tree.path("plain/.git").is_none());
    assert!(
        server.requests("/smart/repository.git/git-upload-pack") > 0,
        "git's own protocol was spoken"
    );
    assert!(server.requests("/plain/repository.git/objects/") > 0);
    let again = world.run(&request).await.unwrap();
    assert_eq!(again.cached(), [true; 5]);
    world.close().await;
}

/// As [`files_and_repositories_come_over_https_from_an_authority_of_ones_own`], told by the
/// environment.
#[test]
fn ssl_cert_file_is_honoured() {
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::make(&directory.path().join("repositories"));
    let server = Https::serve(repository.root());
    let authority = server.authority(directory.path());
    in_process(
        "remotes::with_ssl_cert_file",
        &[
            ("SSL_CERT_FILE", authority.to_str().unwrap()),
            ("BERTH_TEST_URL", &server.url()),
            ("BERTH_TEST_COMMIT", repository.first()),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of ssl_cert_file_is_honoured"]
async fn with_ssl_cert_file() {
    let world = World::new();
    let dockerfile = everything(&variable("BERTH_TEST_URL"), &variable("BERTH_TEST_COMMIT"));
    let mut request = world.request(&dockerfile);
    // As the command line does.
    request.ca_bundle = Some(PathBuf::from(variable("SSL_CERT_FILE")));
    let built = world.run(&request).await.unwrap();
    assert_eq!(world.tree(&built.image).read("plain/docs/api/file"), "two");
    world.close().await;
}

/// The time of a commit, and of a file, as `SOURCE_DATE_EPOCH`.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_one_download_gives_the_source_date() {
    let world = World::new();
    let repository = Repository::make(&world.directory.path().join("repositories"));
    let server = Https::serve(repository.root());
    let authority = server.authority(world.directory.path());
    let base = server.url();
    for (source, expected) in [
        ("smart/repository.git#v1", 1_000_000_000),
        ("files/data.txt", 1_100_000_000),
        ("files/undated.tar", 1_200_000_000),
    ] {
        let mut request = world.request(&format!(
            "ARG SOURCE_DATE_EPOCH=Source\n\
             FROM scratch AS source\n\
             ARG BASE={base}\n\
             ADD $BASE/{source} /\n\
             FROM base\n\
             ARG SOURCE_DATE_EPOCH\n\
             RUN write /built 1; env SOURCE_DATE_EPOCH\n"
        ));
        request.ca_bundle = Some(authority.clone());
        let built = world.run(&request).await.unwrap();
        assert_eq!(built.output(), [format!("SOURCE_DATE_EPOCH={expected}")]);
        let config = world.store.config_json(&built.image).unwrap();
        let created = config["created"].as_str().unwrap();
        let year = created.split('-').next().unwrap();
        assert_eq!(
            year,
            if expected == 1_200_000_000 {
                "2008"
            } else if expected == 1_100_000_000 {
                "2004"
            } else {
                "2001"
            }
        );
    }
    for wrong in [
        "FROM base AS source\nADD https://example.com/x /\n",
        "FROM scratch AS source\nADD x /\n",
        "FROM scratch AS source\nADD https://example.com/x https://example.com/y /\n",
        "FROM scratch AS source\nADD https://example.com/x /\nCOPY a /\n",
        "FROM scratch AS source\n",
    ] {
        let report = world
            .fail(&format!("ARG SOURCE_DATE_EPOCH=source\n{wrong}FROM base\n"))
            .await;
        assert!(
            report.contains("`SOURCE_DATE_EPOCH=source`: the stage must be"),
            "{report}"
        );
    }
    world.close().await;
}

/// The private key is in an agent, or in a file: `ADD` and `RUN --mount=type=ssh` are served from both.
#[test]
fn repositories_come_over_ssh_with_keys_from_an_agent_and_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::make(&directory.path().join("repositories"));
    let sshd = Sshd::start(directory.path());
    let ssh = format!("ssh -F {}", sshd.client_configuration().display());
    let url = sshd.url(&repository.root().join("repository.git"));
    in_process(
        "remotes::with_keys",
        &[
            ("GIT_SSH_COMMAND", &ssh),
            ("BERTH_TEST_URL", &url),
            ("BERTH_TEST_KEYS", sshd.keys().to_str().unwrap()),
        ],
    );
    assert!(sshd.logins() >= 2, "{}", sshd.logins());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of repositories_come_over_ssh_with_keys_from_an_agent_and_from_files"]
async fn with_keys() {
    let world = World::new();
    let keys = PathBuf::from(variable("BERTH_TEST_KEYS"));
    let dockerfile = format!("FROM base\nADD {} /by-ssh\n", variable("BERTH_TEST_URL"));
    let mut request = world.request(&dockerfile);
    let with = |key: &str| vec![keys.join(key)];

    // A key that nobody knows there; none at all.
    request.ssh.insert("default".to_owned(), with("stranger"));
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(
        report.contains("Permission denied") && report.contains("--ssh default"),
        "{report}"
    );

    for key in ["ed25519", "rsa"] {
        request.ssh.insert("default".to_owned(), with(key));
        request.no_cache = true;
        let built = world.run(&request).await.unwrap();
        assert_eq!(world.tree(&built.image).read("by-ssh/docs/api/file"), "two");
    }

    // The same by an agent of the user's.
    let agent = crate::sshd::Agent::start(&keys.join("ed25519"));
    request
        .ssh
        .insert("default".to_owned(), vec![agent.socket()]);
    world.run(&request).await.unwrap();

    // And in a step: the agent answers, in its own protocol, with as many keys as there are files.
    let mut request = world.request(
        "FROM base\nRUN --mount=type=ssh ask $SSH_AUTH_SOCK 11\n\
         RUN --mount=type=ssh,id=both ask $SSH_AUTH_SOCK 11\n",
    );
    request.ssh.insert("default".to_owned(), with("ed25519"));
    let both = vec![keys.join("ed25519"), keys.join("rsa")];
    request.ssh.insert("both".to_owned(), both);
    let built = world.run(&request).await.unwrap();
    assert_eq!(built.output(), ["answer 12: 1", "answer 12: 2"]);

    // What is no key, or wants a passphrase, is named.
    for (paths, text) in [
        (with("locked"), "ssh-add"),
        (with("known_hosts"), "known_hosts`: "),
        (with("missing"), "missing"),
        (
            vec![agent.socket(), keys.join("ed25519")],
            "either one socket or one or more key files",
        ),
    ] {
        request.ssh.insert("default".to_owned(), paths);
        let error = world.run(&request).await.unwrap_err();
        let report = berth_error::Report::from(error).render_plain();
        assert!(
            report.contains("`--ssh default`") && report.contains(text),
            "{text}: {report}"
        );
    }
    world.close().await;
}
