//! What the tests of the server deploy: Workers that count, and containers of small static programs.

use berth_test::{Program, Project, World, compile_static};

/// The source of a static program that answers HTTP/1.1 on port 8080, one request a connection, and leaves on
/// SIGTERM. `begin` runs before it listens; `answer` has the `length` bytes of `request` (ended by 0), the
/// connection `peer`, and `reply(peer, body)`.
macro_rules! answering {
    ($begin:literal, $answer:literal) => {
        concat!(
            r#"
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static void leave(int signal) { (void)signal; _exit(0); }
static void reply(int peer, const char *body) {
    char answer[1024];
    int all = snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    if (write(peer, answer, all) != all) _exit(3);
}
int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
    char request[4096];
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
"#,
            $begin,
            r#"
    signal(SIGTERM, leave);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) return 1;
    for (;;) {
        int peer = accept(listener, 0, 0);
        long length = read(peer, request, sizeof request - 1);
        if (length > 0) {
            request[length] = 0;
"#,
            $answer,
            r#"
        }
        close(peer);
    }
}
"#
        )
    };
}
pub(crate) use answering;

/// Answers with the greeting in its image and how often it was asked for a path (the class asks for none to
/// see whether it is there). With the greeting `crash` it ends at once.
pub(crate) const GREETER: Program = Program {
    name: "greeter",
    source: answering!(
        r#"
    char greeting[64] = "", body[128];
    int asked = 0, file = open("/greeting", O_RDONLY);
    if (read(file, greeting, sizeof greeting - 1) < 0) return 2;
    if (!strncmp(greeting, "crash", 5)) return 7;
"#,
        r#"
            asked += request[5] != ' ';
            snprintf(body, sizeof body, "%s %d", greeting, asked);
            reply(peer, body);
"#
    ),
};

pub(crate) const GREETER_CONFIG: &str = r#"{
  "name": "greeter",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "containers": [{ "class_name": "Greeter", "image": "./Dockerfile", "max_instances": 3 }],
  "durable_objects": { "bindings": [{ "name": "GREETER", "class_name": "Greeter" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Greeter"] }]
}"#;

pub(crate) const GREETER_WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Greeter extends Container {
  defaultPort = 8080;
}
export default {
  fetch(request, env) {
    return getContainer(env.GREETER, new URL(request.url).pathname).fetch(request);
  },
};
"#;

/// An object per path, each with a [`GREETER`] that says `hello`.
pub(crate) fn greeter(world: &World) -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", GREETER_CONFIG);
    project.write("index.js", GREETER_WORKER);
    project.write("greeting", "hello");
    add_program(world, &project, GREETER);
    let dockerfile = project.path().join("Dockerfile");
    let dockerfile = std::fs::read_to_string(dockerfile).expect("just written");
    let with_greeting = dockerfile.replace("CMD", "COPY greeting /greeting\nCMD");
    project.write("Dockerfile", with_greeting);
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

/// A Dockerfile of nothing but this program, and the program beside it.
pub(crate) fn add_program(world: &World, project: &Project, program: Program) {
    let name = program.name;
    project.write(
        "Dockerfile",
        format!("FROM scratch\nCOPY {name} /{name}\nCMD [\"/{name}\"]\n"),
    );
    project.copy(&compile_static(world, program), name);
}

pub(crate) const COUNTER_CONFIG: &str = r#"{
  "name": "counter",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "vars": { "GREETING": "hello", "LIST": [1, 2] },
  "version_metadata": { "binding": "VERSION" },
  "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]
}"#;

/// A class that counts how often it was asked, in its storage; to be followed by the rest of a Worker.
pub(crate) const COUNTER_CLASS: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async next() {
    const count = ((await this.ctx.storage.get("count")) ?? 0) + 1;
    await this.ctx.storage.put("count", count);
    return count;
  }
}
"#;

const COUNTER_WORKER: &str = r#"
export default {
  async fetch(request, env) {
    const { pathname, host } = new URL(request.url);
    if (pathname.startsWith("/count")) return new Response(String(await env.COUNTER.getByName(pathname).next()));
    const { GREETING: greeting, LIST: list, KEY: key, VERSION: version } = env;
    return Response.json({ greeting, list, key, version: version.id, host });
  },
};
"#;

/// The Worker of [`counter`].
pub(crate) fn counter_worker() -> String {
    format!("{COUNTER_CLASS}{COUNTER_WORKER}")
}

/// `/count…` counts, an object per path; any other path shows what the Worker was given.
pub(crate) fn counter() -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", COUNTER_CONFIG);
    project.write("index.js", counter_worker());
    project
}
