use clap::CommandFactory as _;

use super::*;

#[test]
fn the_definitions_are_consistent() {
    DockerCli::command().debug_assert();
}

fn parse(line: &str) -> DockerCommand {
    let words = std::iter::once("docker").chain(line.split(' '));
    DockerCli::try_parse_from(words).unwrap().command
}

#[test]
fn wranglers_build() {
    let line = "build --load -t cloudflare-dev/box:12ab34cd --platform linux/amd64 \
                --provenance=false --build-arg A=b=c --network host -f - /src";
    let DockerCommand::Engine(EngineCommand::Build(build)) = parse(line) else {
        panic!("not a build");
    };
    assert_eq!(build.flags.tags, ["cloudflare-dev/box:12ab34cd"]);
    assert_eq!(build.flags.args, ["A=b=c"]);
    assert_eq!(build.flags.file, Some(PathBuf::from("-")));
    assert_eq!(build.context_directory, PathBuf::from("/src"));
}

#[test]
fn wranglers_other_commands() {
    for line in [
        "info",
        "--host unix:///s info --format {{json}}",
        "image inspect a:1 --format x",
        "image rm a:1",
        "pull cloudflare/proxy-everything:3cb1195@sha256:0ef6 --platform linux/amd64",
        "tag a b",
        "push a",
        "login --password-stdin --username u host",
        "manifest inspect -v a",
        "rmi a b",
        "ps -a --filter ancestor=a --format {{.ID}}",
        "rm --force a b",
        "context ls --format json",
        "run --rm a sh -c x",
        "exec a ls -l",
    ] {
        parse(line);
    }
}
