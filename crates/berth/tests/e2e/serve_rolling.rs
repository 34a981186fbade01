//! A rollout of containers under load: no request fails when the program is done with what it has at SIGTERM.

use std::time::Duration;

use berth_test::{Program, compile_static};
use serde_json::json;

use crate::load::during;
use crate::serve_rollout::{configure, project, rollout};
use crate::world;

/// Answers with the greeting in its image after 20 ms, many at a time, over connections that stay open. On
/// SIGTERM it takes no more connections and no more requests, answers what it has, and ends.
const GRACEFUL: Program = Program {
    name: "graceful-greeter",
    source: r#"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
enum { MOST = 256 };
static volatile sig_atomic_t leaving;
static void leave(int signal) { (void)signal; leaving = 1; }
static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}
int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
    static struct pollfd polled[MOST];
    static long due[MOST];
    char greeting[64] = "", request[4096], answer[256];
    int one = 1, count = 1, file = open("/greeting", O_RDONLY);
    if (read(file, greeting, sizeof greeting - 1) < 0) return 2;
    struct sigaction action = {.sa_handler = leave};
    sigaction(SIGTERM, &action, 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        if (leaving && polled[0].fd >= 0) {
            close(listener);
            polled[0].fd = -1;
        }
        int owed = 0;
        for (int i = 1; i < count; i++) owed += due[i] != 0;
        if (leaving && !owed) return 0;
        poll(polled, count, leaving || owed ? 5 : 100);
        for (int i = 1; i < count; i++) {
            int gone = 0;
            if (due[i] && now() >= due[i]) {
                int length = strlen(greeting);
                int all = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s",
                    leaving ? "Connection: close\r\n" : "", length, greeting);
                gone = write(polled[i].fd, answer, all) != all || leaving;
                due[i] = 0;
            } else if (!due[i] && polled[i].revents) {
                gone = read(polled[i].fd, request, sizeof request) <= 0;
                due[i] = now() + 20;
            }
            if (gone) {
                close(polled[i].fd);
                count--;
                polled[i] = polled[count];
                due[i] = due[count];
                i--;
            }
        }
        if (polled[0].fd >= 0 && polled[0].revents && count < MOST) {
            int peer = accept(listener, 0, 0);
            if (peer >= 0) {
                polled[count] = (struct pollfd){.fd = peer, .events = POLLIN};
                due[count++] = 0;
            }
        }
    }
}
"#,
};

const OBJECTS: [&str; 4] = ["/a", "/b", "/c", "/d"];

#[tokio::test]
async fn no_request_fails_through_a_rollout() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world, &json!({}));
    project.copy(&compile_static(&world, GRACEFUL), "greeter");
    configure(&project, &json!({"rollout_step_percentage": [50, 100]}));
    project.write("greeting", "one");
    server.wrangler_ok(&project, ["deploy"], "").await;
    for object in OBJECTS {
        assert_eq!(server.text("greeter", object).await, "one");
    }
    for (former, next) in [("one", "two"), ("two", "three")] {
        project.write("greeting", next);
        let ((), seen) = during(&server, "greeter", &OBJECTS, async {
            server.wrangler_ok(&project, ["deploy"], "").await;
            let done = async {
                while rollout(&server).await["status"] != "completed" {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let done = tokio::time::timeout(Duration::from_secs(60), done).await;
            done.expect("the rollout is done");
        })
        .await;
        seen.assert_whole();
        for object in OBJECTS {
            assert_eq!(seen.of(object).next(), Some(former), "{object}");
            assert_eq!(seen.of(object).next_back(), Some(next), "{object}");
            // Each changes once.
            let mut answers = seen.of(object).skip_while(|text| *text == former);
            assert!(answers.all(|text| text == next), "{object} went back");
        }
    }
    server.stop().await;
}
