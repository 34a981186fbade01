/* The least a container can be: one thread, one answer. Listens on $PORT or 8080. */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

static void leave(int signal) {
    (void)signal;
    _exit(0);
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
            char request[4096];
            if (!fds[i].revents) continue;
            ssize_t length = read(fds[i].fd, request, sizeof request);
            if (length <= 0 || write(fds[i].fd, answer, sizeof answer - 1) < 0) {
                close(fds[i].fd);
                fds[i--] = fds[--count];
            }
        }
    }
    return 1;
}
