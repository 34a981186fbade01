/* The least a container can be: one thread, one answer. Listens on $PORT or 8080.
 * GET /bytes/N sends N bytes without a header; PUT /bytes/N takes N bytes and then answers. */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
static char body[1 << 20];

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

static int send_bytes(int connection, long long left) {
    while (left > 0) {
        ssize_t sent = write(connection, body, left < (long long)sizeof body ? (size_t)left : sizeof body);
        if (sent <= 0) return -1;
        left -= sent;
    }
    return 0;
}

static int take_bytes(int connection, long long left) {
    while (left > 0) {
        ssize_t got = read(connection, body, sizeof body);
        if (got <= 0) return -1;
        left -= got;
    }
    return write(connection, answer, sizeof answer - 1) < 0 ? -1 : 0;
}

/* What has been read belongs to one request; of an upload some of the body may be with it. */
static int serve(int connection) {
    char request[4096];
    ssize_t length = read(connection, request, sizeof request - 1);
    if (length <= 0) return -1;
    request[length] = 0;
    if (!strncmp(request, "GET /bytes/", 11)) return send_bytes(connection, atoll(request + 11));
    if (!strncmp(request, "PUT /bytes/", 11)) {
        char *end = strstr(request, "\r\n\r\n");
        long long early = end ? request + length - (end + 4) : 0;
        return take_bytes(connection, atoll(request + 11) - early);
    }
    return write(connection, answer, sizeof answer - 1) < 0 ? -1 : 0;
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 8080)};
    struct pollfd fds[256];
    nfds_t count = 1;
    int one = 1;

    signal(SIGTERM, leave);
    signal(SIGPIPE, SIG_IGN);
    fds[0].fd = socket(AF_INET, SOCK_STREAM, 0);
    fds[0].events = POLLIN;
    setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fds[0].fd, (struct sockaddr *)&address, sizeof address) || listen(fds[0].fd, 128)) return 1;
    while (poll(fds, count, -1) > 0) {
        if ((fds[0].revents & POLLIN) && count < sizeof fds / sizeof *fds) {
            int connection = accept(fds[0].fd, NULL, NULL);
            if (connection >= 0) {
                fds[count].fd = connection;
                fds[count].events = POLLIN;
                fds[count++].revents = 0;
            }
        }
        for (nfds_t i = 1; i < count; i++) {
            if (!fds[i].revents) continue;
            if (serve(fds[i].fd) < 0) {
                close(fds[i].fd);
                fds[i--] = fds[--count];
            }
        }
    }
    return 1;
}
