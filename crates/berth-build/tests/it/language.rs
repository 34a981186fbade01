//! The Dockerfile language in real builds: mounts, secrets, agents, downloads, repositories, warnings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_build::{BuildEvent, Secret};

use crate::world::World;

const SECRET: &str = "s3cr3t-value";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_there_during_the_step_and_nowhere_else() {
    let world = World::new();
    let file = world.directory.path().join("token");
    std::fs::write(&file, SECRET).unwrap();
    let dockerfile = "FROM base\n\
         RUN --mount=type=secret,id=token mode /run/secrets/token; cat /run/secrets/token; echo\n\
         RUN --mount=type=secret,id=token,target=/etc/npmrc,uid=1000,gid=50,mode=0440 mode /etc/npmrc\n\
         RUN --mount=type=secret,id=value,env=TOKEN env TOKEN; missing /run/secrets/value\n\
         RUN --mount=type=secret,id=absent missing /run/secrets/absent; env TOKEN\n";
    let mut request = world.request(dockerfile);
    request
        .secrets
        .insert("token".to_owned(), Secret::File(file.clone()));
    let value = Secret::Value(SECRET.as_bytes().to_vec());
    request.secrets.insert("value".to_owned(), value);
    let built = world.run(&request).await.unwrap();
    let shown = format!("TOKEN={SECRET}");
    assert_eq!(
        built.output(),
        ["400 0:0", SECRET, "440 1000:50", &shown, "TOKEN=(unset)"]
    );
    let config = world.store.config_json(&built.image).unwrap().to_string();
    assert!(!config.contains(SECRET), "{config}");
    let tree = world.tree(&built.image);
    for stub in ["run", "etc/npmrc"] {
        assert!(tree.path(stub).is_none(), "{stub}");
    }
    // Another value is another secret, and no reason to run anything again.
    std::fs::write(&file, "other").unwrap();
    assert_eq!(world.run(&request).await.unwrap().cached(), [true; 5]);
    let found = Command::new("grep")
        .args(["-r", "--", SECRET])
        .arg(world.directory.path().join("store"))
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{found:?}");

    let report = world
        .fail("FROM base\nRUN --mount=type=secret,id=gone,required cat /run/secrets/gone\n")
        .await;
    assert!(
        report.contains("Dockerfile:2") && report.contains("--secret id=gone"),
        "{report}"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_reached_through_a_socket_of_the_step() {
    let world = World::new();
    let socket = world.directory.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // An agent that knows two messages, and tells which ones have come.
    let agent = std::thread::spawn(move || {
        let mut asked = Vec::new();
        while asked.len() < 3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 5];
            while stream.read_exact(&mut request).is_ok() {
                asked.push(request[4]);
                let answer: &[u8] = match request[4] {
                    11 => &[0, 0, 0, 5, 12, 0, 0, 0, 7],
                    _ => &[0, 0, 0, 1, 14],
                };
                stream.write_all(answer).unwrap();
            }
        }
        asked
    });
    let mut request = world.request(
        "FROM base\n\
         RUN --mount=type=ssh ask $SSH_AUTH_SOCK 11\n\
         RUN --mount=type=ssh ask $SSH_AUTH_SOCK 19; ask $SSH_AUTH_SOCK 22; ask $SSH_AUTH_SOCK 27\n\
         RUN --mount=type=ssh,target=/agent,uid=1000,mode=0600 mode /agent; ask /agent 13; ask /agent 11\n\
         RUN --mount=type=ssh,id=other env SSH_AUTH_SOCK\n",
    );
    request.ssh.insert("default".to_owned(), vec![socket]);
    let built = world.run(&request).await.unwrap();
    assert_eq!(
        built.output(),
        [
            "answer 12: 7",
            // Remove all keys, lock, an extension: not for a step.
            "answer 5",
            "answer 5",
            "answer 5",
            "600 1000:0",
            "answer 14",
            "answer 12: 7",
            "SSH_AUTH_SOCK=(unset)",
        ]
    );
    assert_eq!(agent.join().unwrap(), [11, 13, 11]);
    let report = world
        .fail("FROM base\nRUN --mount=type=ssh,id=none,required exit 0\n")
        .await;
    assert!(report.contains("--ssh none"), "{report}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_show_stages_and_what_the_context_lets_through() {
    let world = World::new();
    world.file("src/a", "1");
    world.file("src/ignored", "x");
    world.file(".dockerignore", "**/ignored\n");
    let dockerfile = "FROM base AS tools\n\
         RUN mkdir /opt; mkdir /opt/bin; write /opt/bin/tool made\n\
         FROM base\n\
         RUN --mount=from=tools,source=/opt,target=/mnt cat /mnt/bin/tool; echo\n\
         RUN --mount=from=tools,source=/opt/bin/tool,target=/one cat /one; echo\n\
         RUN --mount=from=tools,target=/mnt,rw write /mnt/opt/bin/tool changed\n\
         RUN --mount=from=tools,target=/mnt cat /mnt/opt/bin/tool; echo\n\
         RUN --mount=target=/ctx,source=src,rw missing /ctx/ignored; write /ctx/a 2; cat /ctx/a; echo\n\
         RUN --mount=type=cache,from=tools,source=/opt/bin,target=/c cat /c/tool; echo\n\
         RUN --mount=type=cache,target=/c,uid=7,gid=8,mode=0700 mode /c\n\
         RUN --mount=type=tmpfs,target=/t,size=1m write /t/x y\n";
    let built = world.build(dockerfile).await;
    assert_eq!(
        built.output(),
        ["made", "made", "made", "2", "made", "700 7:8"]
    );
    assert_eq!(
        std::fs::read_to_string(world.context().join("src/a")).unwrap(),
        "1"
    );
    let tree = world.tree(&built.image);
    for stub in ["mnt", "one", "ctx", "c", "t"] {
        assert!(tree.path(stub).is_none(), "{stub}");
    }
    // The content of what is mounted counts, and what is ignored does not.
    world.file("src/ignored", "y");
    assert!(
        world
            .build(dockerfile)
            .await
            .cached()
            .into_iter()
            .all(|cached| cached)
    );
    world.file("src/a", "3");
    let again = world.build(dockerfile).await;
    assert_eq!(
        again.cached().into_iter().filter(|cached| !cached).count(),
        1
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_and_mistakes_come_before_the_first_step() {
    let world = World::new();
    let built = world
        .build(
            "FROM base\n\
             ENV NAME=x\n\
             LABEL a=$NAMES\n\
             CMD echo a\n\
             CMD [\"b\"]\n\
             # check=skip=WorkdirRelativePath\n\
             WORKDIR rel\n",
        )
        .await;
    let mut warnings = Vec::new();
    for event in &built.events {
        match event {
            BuildEvent::Warning { rule, line, .. } => warnings.push((*rule, *line)),
            BuildEvent::Started { .. } => break,
            _ => {}
        }
    }
    let rule = |name, line| (Some(name), Some(line));
    assert_eq!(
        warnings,
        [
            rule("UndefinedVar", 3),
            rule("JSONArgsRecommended", 4),
            rule("MultipleInstructionsDisallowed", 4),
        ]
    );
    let report = world
        .fail("# check=error=true\nFROM base\nRUN append /never x\nCMD echo a\n")
        .await;
    assert!(
        report.contains("Dockerfile:4") && report.contains("JSONArgsRecommended"),
        "{report}"
    );
    for (late, text) in [
        ("EXPOSE http", "`http` is no port"),
        ("COPY --chmod=9 a /b", "`--chmod=9` is no mode"),
        ("STOPSIGNAL SIGTREM", "is no signal"),
        ("LABEL a=${X:?is needed}", "is needed"),
    ] {
        let request = world.request(&format!("FROM base\nRUN hang\n{late}\n"));
        let error = world.run(&request).await.unwrap_err();
        let report = berth_error::Report::from(error).render_plain();
        assert!(
            report.contains("Dockerfile:3") && report.contains(text),
            "{report}"
        );
    }
    world.close().await;
}

/// Files of it can be used, its programs cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_for_another_machine_is_warned_of() {
    let world = World::new();
    let image = world.store.resolve("base").unwrap().unwrap();
    let mut configuration = world.store.config_json(&image).unwrap();
    configuration["architecture"] = "riscv64".into();
    configuration["os"] = "linux".into();
    let foreign = world
        .store
        .put_image_json(configuration, image.layers.clone())
        .unwrap();
    world.store.tag(&foreign, "foreign").unwrap();
    let warnings = |built: &crate::world::Built| {
        let warnings = built.events.iter().filter_map(|event| match event {
            BuildEvent::Warning {
                rule,
                line,
                message,
            } => Some((*rule, *line, message.clone())),
            _ => None,
        });
        warnings.collect::<Vec<_>>()
    };
    let built = world
        .build("FROM base\nFROM foreign AS other\nFROM base\nCOPY --from=other /etc/group /g\n")
        .await;
    let [(rule, line, message)] = warnings(&built).try_into().unwrap();
    assert_eq!((rule, line), (Some("InvalidBaseImagePlatform"), Some(2)));
    assert!(
        message.contains("`foreign` is an image for linux/riscv64"),
        "{message}"
    );
    for quiet in [
        "FROM foreign AS other\nFROM base\n",
        "# check=skip=InvalidBaseImagePlatform\nFROM foreign\n",
    ] {
        assert_eq!(warnings(&world.build(quiet).await), [], "{quiet}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_variables_share_one_order() {
    let world = World::new();
    let built = world
        .build(
            "ARG GLOBAL=g\n\
             FROM base AS one\n\
             ARG GLOBAL A=1 B=${A}2\n\
             ENV A=env\n\
             RUN env GLOBAL; env A; env B\n\
             ARG A=again\n\
             RUN env A\n\
             FROM one\n\
             RUN env B; env TARGETARCH\n\
             ARG TARGETOS\n\
             RUN env TARGETOS\n",
        )
        .await;
    assert_eq!(
        built.output(),
        [
            "GLOBAL=g",
            "A=env",
            "B=12",
            "A=again",
            "B=12",
            "TARGETARCH=(unset)",
            "TARGETOS=linux"
        ]
    );
    world.close().await;
}

/// Serves files with an ETag; counts requests, and those answered with a body.
struct Server {
    url: String,
    bodies: Arc<AtomicUsize>,
}

fn serve() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies = Arc::new(AtomicUsize::new(0));
    let counter = bodies.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &counter);
        }
    });
    Server { url, bodies }
}

fn answer(stream: TcpStream, bodies: &AtomicUsize) {
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let known = headers
        .iter()
        .any(|line| line.eq_ignore_ascii_case("if-none-match: \"v1\""));
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/files/data.txt?x=1" if known => ("304 Not Modified", ""),
        "/files/data.txt?x=1" => ("200 OK", "hello"),
        "/moved" => ("302 Found\r\nLocation: /files/data.txt?x=1", ""),
        _ => ("404 Not Found", "no"),
    };
    if status.starts_with("200") {
        bodies.fetch_add(1, Ordering::SeqCst);
    }
    let mut stream = &stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"v1\"\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_downloaded_once_and_checked() {
    let world = World::new();
    let server = serve();
    let url = format!("{}/files/data.txt?x=1", server.url);
    let dockerfile =
        format!("FROM base\nADD {url} /d/\nADD --chmod=644 --chown=7:8 {url} /named\n");
    let built = world.build(&dockerfile).await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("d/data.txt"), "hello");
    let file = tree.metadata("d/data.txt");
    assert_eq!(
        (file.mode() & 0o7777, file.uid(), file.mtime()),
        (0o600, 0, 1_000_000_000)
    );
    let file = tree.metadata("named");
    assert_eq!(
        (file.mode() & 0o7777, file.uid(), file.gid()),
        (0o644, 7, 8)
    );
    let before = server.bodies.load(Ordering::SeqCst);
    assert_eq!(world.build(&dockerfile).await.cached(), [true; 3]);
    assert_eq!(
        server.bodies.load(Ordering::SeqCst),
        before,
        "asked, not fetched"
    );

    let sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let checked = format!("FROM base\nADD --checksum={sum} {}/moved /x\n", server.url);
    let built = world.build(&checked).await;
    assert_eq!(world.tree(&built.image).read("x"), "hello");
    let wrong = format!(
        "FROM base\nADD --checksum=sha256:{} {url} /x\n",
        "0".repeat(64)
    );
    let report = world.fail(&wrong).await;
    assert!(
        report.contains("2cf24dba") && report.contains("Dockerfile:2"),
        "{report}"
    );
    let report = world
        .fail(&format!("FROM base\nADD {}/gone /x\n", server.url))
        .await;
    assert!(report.contains("status 404"), "{report}");
    let report = world.fail(&format!("FROM base\nCOPY {url} /x\n")).await;
    assert!(report.contains("use ADD instead"), "{report}");
    world.close().await;
}

/// A repository behind git's own protocol.
fn serve_git(directory: &Path) -> (String, String) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(directory)
            .env("GIT_COMMITTER_DATE", "1000000000 +0000")
            .output()
            .expect("the tests need git");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main", "."]);
    std::fs::create_dir_all(directory.join("docs/api")).unwrap();
    std::fs::write(directory.join("docs/api/file"), "one").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["tag", "-a", "-m", "v1", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]);
    std::fs::write(directory.join("docs/api/file"), "two").unwrap();
    git(&["commit", "--quiet", "-a", "-m", "two"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/.git", listener.local_addr().unwrap());
    let base = directory.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let socket = || {
                Stdio::from(std::os::fd::OwnedFd::from(
                    stream.as_ref().unwrap().try_clone().unwrap(),
                ))
            };
            let mut daemon = Command::new("git")
                .args(["daemon", "--inetd", "--export-all"])
                .arg(format!("--base-path={}", base.display()))
                .arg(&base)
                .stdin(socket())
                .stdout(socket())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            daemon.wait().unwrap();
        }
    });
    (url, commit)
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_checked_out() {
    let world = World::new();
    let repository = world.directory.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    let (url, commit) = serve_git(&repository);
    let dockerfile = format!(
        "FROM base\n\
         ADD {url} /main\n\
         ADD {url}#v1:docs /v1\n\
         ADD --keep-git-dir --checksum={commit} {url}?tag=v1 /kept\n"
    );
    let built = world.build(&dockerfile).await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("main/docs/api/file"), "two");
    assert_eq!(tree.read("v1/api/file"), "one");
    assert_eq!(tree.metadata("v1/api/file").mtime(), 1_000_000_000);
    assert!(tree.path("main/.git").is_none() && tree.path("kept/.git/HEAD").is_some());
    assert_eq!(world.build(&dockerfile).await.cached(), [true; 4]);
    let report = world
        .fail(&format!("FROM base\nADD {url}#nothing /x\n"))
        .await;
    assert!(
        report.contains("has no branch or tag `nothing`"),
        "{report}"
    );
    let report = world
        .fail(&format!("FROM base\nADD --checksum=0000000 {url} /x\n"))
        .await;
    assert!(report.contains("not 0000000"), "{report}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_every_compression_are_unpacked() {
    let world = World::new();
    world.file("in/file", "text");
    let mut dockerfile = "FROM base\n".to_owned();
    for (name, option) in [("a", "-c"), ("b", "-cz"), ("c", "-cj"), ("d", "-cJ")] {
        let output = Command::new("tar")
            .args([option, "-f"])
            .arg(world.context().join(name))
            .args(["-C", world.context().to_str().unwrap(), "in"])
            .output()
            .expect("the tests need tar, bzip2 and xz");
        assert!(output.status.success(), "{output:?}");
        dockerfile +=
            &format!("ADD --chown=7:8 {name} /{name}/\nADD --unpack=false {name} /kept/\n");
    }
    let built = world.build(&dockerfile).await;
    let tree = world.tree(&built.image);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(tree.read(&format!("{name}/in/file")), "text", "{name}");
        assert_eq!(tree.metadata(&format!("{name}/in/file")).uid(), 7);
        assert!(tree.path(&format!("kept/{name}")).is_some());
    }
    world.close().await;
}
