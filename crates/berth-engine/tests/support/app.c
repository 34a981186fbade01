/* The program of the synthetic images: argv[1] says what it does. Static, so that an image needs
 * nothing but this file. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void on_term(int signal) {
    (void)signal;
    _exit(3);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128)) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void serve(int fd) {
    for (;;) {
        int peer = accept(fd, NULL, NULL);
        if (peer < 0)
            continue;
        if (write(peer, "hello\n", 6) < 0)
            perror("write");
        close(peer);
    }
}

static void give_up(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(5);
}

/* Answers each line on any connection by how many there have been; a line that begins with `slow`
 * after half a second. SIGTERM ends it with 3. `strict`: as many a program, it takes an interrupted
 * system call for a failure, none of its signals interrupting any. */
static void count(int listener, int strict) {
    struct pollfd fds[64] = {{.fd = listener, .events = POLLIN}};
    nfds_t used = 1;
    int lines = 0;
    signal(SIGTERM, on_term);
    for (;;) {
        if (poll(fds, used, -1) < 0) {
            if (strict)
                give_up("poll");
            continue;
        }
        if (fds[0].revents && used < 64)
            fds[used++] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
        for (nfds_t index = 1; index < used; index++) {
            char line[256];
            if (!fds[index].revents)
                continue;
            ssize_t got = read(fds[index].fd, line, sizeof line - 1);
            if (got <= 0) {
                close(fds[index].fd);
                fds[index--] = fds[--used];
                continue;
            }
            if (!strncmp(line, "slow", 4))
                usleep(500000);
            dprintf(fds[index].fd, "%d\n", ++lines);
        }
    }
}

/* Every wait that the kernel continues by itself after it has stopped a process; none may end. */
static void *wait_in(void *kind) {
    struct timespec span = {.tv_sec = 600}, then;
    sem_t never;
    sem_init(&never, 0, 0);
    clock_gettime(CLOCK_REALTIME, &then);
    then.tv_sec += 600;
    errno = 0;
    if (!strcmp(kind, "poll"))
        poll(NULL, 0, 600000);
    if (!strcmp(kind, "select"))
        select(0, NULL, NULL, NULL, &(struct timeval){.tv_sec = 600});
    if (!strcmp(kind, "nanosleep"))
        nanosleep(&span, NULL);
    if (!strcmp(kind, "clock_nanosleep"))
        errno = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &then, NULL);
    if (!strcmp(kind, "sem_timedwait"))
        sem_timedwait(&never, &then);
    give_up(kind);
    return NULL;
}

static void wait_in_every_way(void) {
    static char *kinds[] = {"poll", "select", "nanosleep", "clock_nanosleep", "sem_timedwait"};
    pthread_t thread;
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        pthread_create(&thread, NULL, wait_in, kinds[kind]);
}

/* As `count`, by a child that is asked through pipes; with a connection of its own to itself, megabytes
 * of memory, and a thread. */
static void *idle(void *nothing) {
    for (;;)
        pause();
    return nothing;
}

static void family(int listener, int mebibytes) {
    int question[2], answer[2], lines = 0;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    pthread_t thread;
    int own = listen_on(0), near = socket(AF_INET, SOCK_STREAM, 0);
    if (getsockname(own, (struct sockaddr *)&address, &length) || pipe(question) || pipe(answer))
        exit(1);
    if (connect(near, (struct sockaddr *)&address, sizeof address) || accept(own, NULL, NULL) < 0)
        exit(1);
    if (mebibytes) {
        char *memory = malloc((size_t)mebibytes << 20);
        memset(memory, 1, (size_t)mebibytes << 20);
        const char *secret = getenv("SECRET");
        if (secret)
            strcpy(memory + 4096, secret);
    }
    if (fork() == 0) {
        char byte;
        while (read(question[0], &byte, 1) == 1)
            if (++lines && write(answer[1], &lines, sizeof lines) != sizeof lines)
                exit(1);
        exit(1);
    }
    pthread_create(&thread, NULL, idle, NULL);
    signal(SIGTERM, on_term);
    for (;;) {
        char line[256];
        int peer = accept(listener, NULL, NULL);
        while (read(peer, line, sizeof line) > 0) {
            if (write(question[1], "?", 1) != 1 || read(answer[0], &lines, sizeof lines) <= 0)
                exit(1);
            dprintf(peer, "%d\n", lines);
            printf("answered %d\n", lines);
            fflush(stdout);
        }
        close(peer);
    }
}

/* An open file without a name that is too large to be kept. */
static void keep_ghost(int mebibytes) {
    static char block[1 << 20];
    int fd = open("/tmp/ghost", O_CREAT | O_RDWR, 0600);
    unlink("/tmp/ghost");
    while (mebibytes--)
        if (write(fd, block, sizeof block) != sizeof block)
            exit(1);
}

static void sleep_forever(void) {
    for (;;)
        pause();
}

static void copy(int from, int to) {
    static char buffer[65536];
    ssize_t got;
    while ((got = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)got) != got)
            exit(4);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "sleep";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    setvbuf(stdout, NULL, _IOFBF, 65536);
    if (!strcmp(what, "exit"))
        return number;
    if (!strcmp(what, "sleep"))
        sleep_forever();
    if (!strcmp(what, "polite")) {
        signal(SIGTERM, on_term);
        puts("ready");
        fflush(stdout);
        sleep_forever();
    }
    if (!strcmp(what, "listen")) { /* port, delay in ms */
        usleep((useconds_t)(argc > 3 ? atoi(argv[3]) : 0) * 1000);
        serve(listen_on(number));
    }
    if (!strcmp(what, "count")) /* port: every line is answered by its number */
        count(listen_on(number), 0);
    if (!strcmp(what, "count-strictly")) { /* the same; whatever interrupts a wait of its ends it */
        wait_in_every_way();
        count(listen_on(number), 1);
    }
    if (!strcmp(what, "family")) /* port, MiB of memory: the same, by a child */
        family(listen_on(number), argc > 3 ? atoi(argv[3]) : 0);
    if (!strcmp(what, "count-with-ghost")) { /* port, MiB of an open file without a name */
        keep_ghost(atoi(argv[3]));
        count(listen_on(number), 0);
    }
    if (!strcmp(what, "listens")) { /* whether a new listening socket can be made: 0 */
        close(listen_on(number));
        return 0;
    }
    if (!strcmp(what, "count-and-spin")) { /* the same, and a child that uses CPU */
        if (fork() == 0)
            for (;;)
                ;
        count(listen_on(number), 0);
    }
    if (!strcmp(what, "listen-and-close")) {
        close(listen_on(number));
        puts("closed");
        fflush(stdout);
        sleep_forever();
    }
    if (!strcmp(what, "print")) { /* that many lines, and one without an end on stderr */
        for (int line = 0; line < number; line++)
            printf("line %d\n", line);
        fflush(stdout);
        fputs("no newline", stderr);
        return 0;
    }
    if (!strcmp(what, "flood"))
        for (;;)
            puts("0123456789012345678901234567890123456789012345678901234567890123456789");
    if (!strcmp(what, "orphan")) { /* leaves a child that holds the output */
        if (fork() == 0)
            sleep_forever();
        puts("parent");
        return 0;
    }
    if (!strcmp(what, "hog")) {
        for (;;) {
            char *memory = malloc(1 << 20);
            if (memory)
                memset(memory, 1, 1 << 20);
        }
    }
    if (!strcmp(what, "about")) {
        char cwd[4096], host[256];
        if (!getcwd(cwd, sizeof cwd) || gethostname(host, sizeof host))
            return 5;
        printf("cwd=%s\nuid=%d\ngid=%d\npid=%d\nhost=%s\n", cwd, getuid(), getgid(), getpid(), host);
        for (int index = 1; index < argc; index++)
            printf("arg=%s\n", argv[index]);
        for (char **entry = environ; *entry; entry++)
            printf("env=%s\n", *entry);
        return 0;
    }
    if (!strcmp(what, "write")) { /* path: creates it, fails if it exists */
        int fd = open(argv[2], O_CREAT | O_EXCL | O_WRONLY, 0644);
        return fd < 0 ? 17 : 0;
    }
    if (!strcmp(what, "remove")) /* path */
        return unlink(argv[2]) ? 1 : 0;
    if (!strcmp(what, "fill")) { /* path, MiB (0: until it fails): prints the bytes, exits with errno */
        static char block[65536];
        long long written = 0, wanted = (long long)atoi(argv[3]) << 20;
        int fd = open(argv[2], O_CREAT | O_WRONLY, 0644);
        ssize_t got = 0;
        while (!wanted || written < wanted) {
            got = write(fd, block, sizeof block);
            if (got < 0)
                break;
            written += got;
        }
        int error = got < 0 ? errno : 0;
        printf("%lld\n", written);
        return error;
    }
    if (!strcmp(what, "show")) { /* path */
        int fd = open(argv[2], O_RDONLY);
        if (fd < 0)
            return 2;
        copy(fd, 1);
        return 0;
    }
    if (!strcmp(what, "cat")) {
        copy(0, 1);
        fputs("end of input\n", stderr);
        return 9;
    }
    if (!strcmp(what, "window")) {
        struct winsize size;
        if (ioctl(0, TIOCGWINSZ, &size))
            return 6;
        printf("%d %d tty=%d\n", size.ws_row, size.ws_col, isatty(1));
        fflush(stdout);
        if (number) { /* until it changes */
            sigset_t set;
            int got;
            sigemptyset(&set);
            sigaddset(&set, SIGWINCH);
            sigprocmask(SIG_BLOCK, &set, NULL);
            struct winsize now;
            while (!ioctl(0, TIOCGWINSZ, &now) && now.ws_row == size.ws_row)
                sigwait(&set, &got);
            printf("%d %d\n", now.ws_row, now.ws_col);
        }
        return 0;
    }
    fprintf(stderr, "app: what is `%s`?\n", what);
    return 64;
}
