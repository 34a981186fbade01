/* A shell as small as the tests need: `-c "cmd; cmd"` or `cmd args`. Each command is one of the words
 * below. It is the only program of the test images. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int fail(const char *what, const char *name) {
  fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
  return 1;
}

static int cat(const char *name) {
  char buffer[4096];
  int fd = open(name, O_RDONLY);
  if (fd < 0) return fail("cat", name);
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0)
    if (write(1, buffer, n) != n) return 1;
  close(fd);
  return 0;
}

static int put(const char *name, const char *text, int flags) {
  int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);
  if (fd < 0) return fail("write", name);
  if (write(fd, text, strlen(text)) < 0) return 1;
  close(fd);
  return 0;
}

static int one(int argc, char **argv) {
  if (argc == 0) return 0;
  const char *verb = argv[0], *a = argc > 1 ? argv[1] : "", *b = argc > 2 ? argv[2] : "";
  if (!strcmp(verb, "echo")) {
    for (int i = 1; i < argc; i++) printf("%s%s", i > 1 ? " " : "", argv[i]);
    printf("\n");
    fflush(stdout);
    return 0;
  }
  if (!strcmp(verb, "err")) return fprintf(stderr, "%s\n", a) < 0;
  if (!strcmp(verb, "cat")) return cat(a);
  if (!strcmp(verb, "write")) return put(a, b, O_TRUNC);
  if (!strcmp(verb, "append")) return put(a, b, O_APPEND);
  /* A meeting: both sides wait until the other one is there. */
  if (!strcmp(verb, "send") || !strcmp(verb, "receive")) {
    char byte = 'x';
    if (mkfifo(a, 0666) < 0 && errno != EEXIST) return fail("mkfifo", a);
    int sends = verb[0] == 's', fd = open(a, sends ? O_WRONLY : O_RDONLY);
    if (fd < 0) return fail("open", a);
    ssize_t n = sends ? write(fd, &byte, 1) : read(fd, &byte, 1);
    close(fd);
    return n != 1;
  }
  /* Connects to the `http://address:port` of a variable, says something and prints the answer. */
  if (!strcmp(verb, "call")) {
    const char *value = getenv(a);
    char host[64] = "";
    int port = 0;
    if (!value || sscanf(value, "http://%63[^:]:%d", host, &port) != 2) return fail("no address", a);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return fail("connect", value);
    char buffer[256];
    if (write(fd, "hi\n", 3) != 3) return fail("write", value);
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) return fail("read", value);
    printf("%.*s\n", (int)n, buffer);
    fflush(stdout);
    close(fd);
    return 0;
  }
  if (!strcmp(verb, "hostname")) {
    char buffer[256];
    gethostname(buffer, sizeof buffer);
    printf("%s\n", buffer);
    fflush(stdout);
    return 0;
  }
  if (!strcmp(verb, "env")) {
    const char *value = getenv(a);
    printf("%s=%s\n", a, value ? value : "(unset)");
    fflush(stdout);
    return 0;
  }
  if (!strcmp(verb, "save-env")) {
    const char *value = getenv(a);
    return put(b, value ? value : "(unset)", O_TRUNC);
  }
  if (!strcmp(verb, "mode")) {
    struct stat st;
    if (stat(a, &st)) return fail("stat", a);
    printf("%o %d:%d\n", st.st_mode & 07777, st.st_uid, st.st_gid);
    fflush(stdout);
    return 0;
  }
  if (!strcmp(verb, "talk")) { /* one line to a socket, and what comes back */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char buffer[256];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const char *path = a[0] == '$' ? getenv(a + 1) : a;
    strncpy(address.sun_path, path ? path : "", sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return fail("connect", a);
    if (write(fd, b, strlen(b)) < 0 || shutdown(fd, SHUT_WR)) return 1;
    ssize_t n = read(fd, buffer, sizeof buffer);
    return n < 0 || write(1, buffer, n) != n || write(1, "\n", 1) != 1;
  }
  if (!strcmp(verb, "ask")) { /* a message of this type to an ssh agent; what comes back, and its count */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned char buffer[16384];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const char *path = a[0] == '$' ? getenv(a + 1) : a;
    strncpy(address.sun_path, path ? path : "", sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return fail("connect", a);
    char request[5] = {0, 0, 0, 1, (char)atoi(b)};
    if (write(fd, request, 5) != 5) return 1;
    size_t have = 0, need = 5;
    while (have < need) {
      ssize_t n = read(fd, buffer + have, sizeof buffer - have);
      if (n <= 0) return fail("read", a);
      have += n;
      if (have >= 5 && buffer[4] == 12) need = 9;
    }
    if (need == 9) printf("answer %d: %d\n", buffer[4], buffer[8]);
    else printf("answer %d\n", buffer[4]);
    close(fd);
    fflush(stdout);
    return 0;
  }
  if (!strcmp(verb, "id")) return printf("%d:%d\n", getuid(), getgid()) < 0 || fflush(stdout);
  if (!strcmp(verb, "pwd")) {
    char buffer[4096];
    return printf("%s\n", getcwd(buffer, sizeof buffer)) < 0 || fflush(stdout);
  }
  if (!strcmp(verb, "rm")) return unlink(a) && rmdir(a) ? fail("rm", a) : 0;
  if (!strcmp(verb, "mkdir")) return mkdir(a, 0755) ? fail("mkdir", a) : 0;
  if (!strcmp(verb, "ln")) return symlink(a, b) ? fail("ln", b) : 0;
  if (!strcmp(verb, "chmod")) return chmod(b, strtol(a, NULL, 8)) ? fail("chmod", b) : 0;
  if (!strcmp(verb, "touch")) return utimes(a, NULL) ? fail("touch", a) : 0;
  if (!strcmp(verb, "chown")) return chown(b, atoi(a), atoi(a)) ? fail("chown", b) : 0;
  if (!strcmp(verb, "exists")) return access(a, F_OK) ? fail("exists", a) : 0;
  if (!strcmp(verb, "missing")) return access(a, F_OK) ? 0 : 1;
  if (!strcmp(verb, "exit")) exit(atoi(a));
  if (!strcmp(verb, "crash")) *(volatile int *)0 = 0;
  if (!strcmp(verb, "daemon")) {
    if (fork() == 0) for (;;) pause();
    return 0;
  }
  if (!strcmp(verb, "hang")) for (;;) pause();
  if (verb[0] == '/') {
    pid_t child = fork();
    if (child == 0) {
      char *args[] = {(char *)verb, NULL};
      execve(verb, args, environ);
      _exit(fail("execute", verb));
    }
    int status;
    return waitpid(child, &status, 0) < 0 || status != 0;
  }
  fprintf(stderr, "%s: not a command\n", verb);
  return 127;
}

static int line(char *text) {
  char *words[64];
  int count = 0;
  for (char *word = strtok(text, " \t"); word && count < 64; word = strtok(NULL, " \t"))
    words[count++] = word;
  return one(count, words);
}

int main(int argc, char **argv) {
  char *text;
  if (argc == 3 && !strcmp(argv[1], "-c")) {
    text = argv[2];
  } else if (argc == 2 && argv[1][0] == '/') {
    static char script[65536];
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0 || read(fd, script, sizeof script - 1) < 0) return fail("script", argv[1]);
    text = strchr(script, '\n'); /* after the first line */
  } else {
    return one(argc - 1, argv + 1);
  }
  while (text && *text) {
    char *end = text + strcspn(text, ";\n");
    char last = *end;
    *end = 0;
    int status = line(text);
    if (status) return status;
    text = last ? end + 1 : end;
  }
  return 0;
}
