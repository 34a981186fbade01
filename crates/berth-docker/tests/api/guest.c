/* The program inside the test image: every word of its command line that a test needs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void leave(int signal) { _exit(signal == SIGTERM ? 0 : 1); }

static void copy(int from, int to) {
    char buffer[65536];
    ssize_t count;
    while ((count = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(to, buffer + done, count - done);
            if (written < 0) return;
            done += written;
        }
}

/* Connects out, sends a request, returns what came back. */
static void fetch(const char *address, int port, char *answer, size_t size) {
    int out = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    size_t length = 0;
    if (connect(out, (struct sockaddr *)&to, sizeof to)) {
        snprintf(answer, size, "refused: %s", strerror(errno));
    } else {
        dprintf(out, "GET /from-inside HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address);
        ssize_t count;
        while (length + 1 < size && (count = read(out, answer + length, size - length - 1)) > 0) length += count;
        answer[length] = 0;
        if (length == 0) snprintf(answer, size, "closed");
    }
    close(out);
}

/* Requests without a body: `/out/<address>/<port>` connects out, anything else echoes the path. */
static void speak_http(int client) {
    char request[8192], body[8192], path[256], address[64];
    size_t length = 0;
    ssize_t count;
    while ((count = read(client, request + length, sizeof request - 1 - length)) > 0) {
        length += count;
        request[length] = 0;
        if (!strstr(request, "\r\n\r\n")) continue;
        int port = 0;
        if (sscanf(request, "%*s /out/%63[^/]/%d", address, &port) == 2) {
            fetch(address, port, body, sizeof body);
        } else if (sscanf(request, "%*s %255s", path) == 1) {
            snprintf(body, sizeof body, "%s %s", path, getenv("GREETING") ? getenv("GREETING") : "-");
        }
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
        length = 0;
    }
}

/* Echoes or speaks HTTP on a loopback port, after a while. */
static int serve(int port, int delay_ms, int http) {
    usleep(delay_ms * 1000);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (fork() == 0) {
            if (http) speak_http(client); else copy(client, client);
            _exit(0);
        }
        close(client);
    }
}

/* Owner, group, permissions and content of a file, or the error number. */
static int show(const char *path) {
    struct stat found;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &found)) { printf("error %d\n", errno); return 1; }
    printf("%d:%d %o ", found.st_uid, found.st_gid, found.st_mode & 07777);
    fflush(stdout);
    copy(file, 1);
    return 0;
}

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return file < 0 || write(file, text, strlen(text)) < 0 ? errno : 0;
}

static void flood(size_t bytes) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (int stream = 1; stream <= 2; stream++)
        if (fork() == 0) {
            for (size_t left = bytes; left > 0;) {
                ssize_t written = write(stream, block, left < sizeof block ? left : sizeof block);
                if (written < 0) _exit(1);
                left -= written;
            }
            _exit(0);
        }
    while (wait(NULL) > 0) {}
}

static void print_size(void) {
    struct winsize size = {0};
    ioctl(0, TIOCGWINSZ, &size);
    printf("%d %d\n", size.ws_row, size.ws_col);
    fflush(stdout);
}

static void resized(int signal) { (void)signal; }

static void print_sizes(void) {
    struct sigaction action = {.sa_handler = resized};
    sigset_t change, none;
    sigemptyset(&none);
    sigemptyset(&change);
    sigaddset(&change, SIGWINCH);
    sigprocmask(SIG_BLOCK, &change, NULL);
    sigaction(SIGWINCH, &action, NULL);
    print_size();
    sigsuspend(&none);
    print_size();
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "pause";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    signal(SIGTERM, leave);
    if (!strcmp(verb, "serve")) return serve(number, argc > 3 ? atoi(argv[3]) : 0, 0);
    if (!strcmp(verb, "http")) return serve(number, argc > 3 ? atoi(argv[3]) : 0, 1);
    if (!strcmp(verb, "exit")) return number;
    if (!strcmp(verb, "show")) return show(argv[2]);
    if (!strcmp(verb, "put")) return put(argv[2], argv[3]);
    if (!strcmp(verb, "rm")) return unlink(argv[2]) ? errno : 0;
    if (!strcmp(verb, "cat")) { copy(0, 1); return 0; }
    if (!strcmp(verb, "flood")) { flood(number); return 0; }
    if (!strcmp(verb, "size")) { print_sizes(); return 0; }
    if (!strcmp(verb, "env")) { for (char **e = environ; *e; e++) puts(*e); return 0; }
    if (!strcmp(verb, "cwd")) { char path[256]; puts(getcwd(path, sizeof path)); return 0; }
    if (!strcmp(verb, "lines")) {
        for (int line = 1; line <= number; line++) {
            dprintf(1, "out %d\n", line);
            dprintf(2, "err %d\n", line);
        }
        if (argc > 3) return 0;
    }
    if (!strcmp(verb, "orphan")) {
        puts("left");
        fflush(stdout);
        if (fork() == 0) for (;;) pause();
        return 5;
    }
    for (;;) pause();
}
