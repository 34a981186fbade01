/* A multi-call program that looks at its container from inside and prints what it finds.
 * Linked statically, so that a root file system of one file is enough. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* attack.c; negative: no command of it. */
int attack(int argc, char **argv);

static int cat(const char *path) {
    char buffer[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0) { printf("open %s: %d\n", path, errno); return 1; }
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, n, stdout);
    if (n < 0) printf("read %s: %d\n", path, errno);
    close(fd);
    return 0;
}

static void attempt(const char *name, long result) {
    printf("%s %d\n", name, result < 0 ? errno : 0);
}

static void try_calls(void) {
    attempt("mount", mount("none", "/tmp", "tmpfs", 0, 0));
    attempt("umount", umount2("/proc", MNT_DETACH));
    attempt("unshare-user", unshare(CLONE_NEWUSER));
    attempt("unshare-ns", unshare(CLONE_NEWNS));
    attempt("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    attempt("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -2));
    attempt("io_uring_setup", syscall(SYS_io_uring_setup, 8, 0));
    attempt("bpf", syscall(SYS_bpf, 0, 0, 0));
    attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
    attempt("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    attempt("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, 0, 0));
    attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    attempt("init_module", syscall(SYS_init_module, 0, 0, ""));
    attempt("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    attempt("setns", setns(0, 0));
    attempt("sethostname", sethostname("x", 1));
    attempt("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    attempt("clone-newuser", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    attempt("clone3", syscall(SYS_clone3, 0, 0));
    attempt("af_alg", socket(38, SOCK_SEQPACKET, 0));
    attempt("af_vsock", socket(40, SOCK_STREAM, 0));
    attempt("af_inet", socket(AF_INET, SOCK_STREAM, 0));
    attempt("af_unix", socket(AF_UNIX, SOCK_STREAM, 0));
    attempt("mknod-sda", mknod("/sda", S_IFBLK | 0600, makedev(8, 0)));
    attempt("ptrace-init", ptrace(PTRACE_ATTACH, getppid() ? getppid() : 1, 0, 0));
    attempt("chroot", chroot("/"));
    attempt("personality-bad", syscall(SYS_personality, 0x0400000));
    attempt("personality-ok", syscall(SYS_personality, 0xffffffff));
    attempt("syslog", syscall(SYS_syslog, 2, 0, 0));
    attempt("x32", syscall(0x40000000 | 39));
}

static int write_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) { printf("%s open %d\n", path, errno); return 1; }
    ssize_t n = write(fd, text, strlen(text));
    printf("%s write %d\n", path, n < 0 ? errno : 0);
    close(fd);
    return 0;
}

static int list(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) { printf("opendir %s: %d\n", path, errno); return 1; }
    struct dirent *entry;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.') printf("%s\n", entry->d_name);
    closedir(directory);
    return 0;
}

static int do_listen(void *address) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = { .sin_family = AF_INET };
    inet_pton(AF_INET, address, &in.sin_addr);
    if (bind(fd, (void *)&in, sizeof in)) { printf("bind %d\n", errno); return -1; }
    socklen_t length = sizeof in;
    getsockname(fd, (void *)&in, &length);
    printf("port %d\n", ntohs(in.sin_port));
    fflush(stdout);
    if (listen(fd, 16)) { printf("listen %d\n", errno); return -1; }
    printf("listening\n");
    fflush(stdout);
    return fd;
}

static void *listen_thread(void *address) {
    do_listen(address);
    pause();
    return 0;
}

static void open_tty(void) {
    struct winsize size = {0};
    printf("isatty %d %d %d\n", isatty(0), isatty(1), isatty(2));
    ioctl(0, TIOCGWINSZ, &size);
    printf("size %d %d\n", size.ws_row, size.ws_col);
    int fd = open("/dev/tty", O_RDWR);
    printf("tty %d\n", fd < 0 ? errno : 0);
    char name[256] = "?";
    ssize_t n = readlink("/proc/self/fd/0", name, 255);
    if (n > 0) name[n] = 0;
    struct stat st;
    stat(name, &st);
    printf("name %s owner %d\n", name, st.st_uid);
    printf("session %d\n", getsid(0) == getpid());
}

static int run(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    const char *a = argc > 2 ? argv[2] : "";
    if (!strcmp(command, "exit")) return atoi(a);
    if (!strcmp(command, "signal")) { signal(atoi(a), SIG_DFL); raise(atoi(a)); pause(); }
    if (!strcmp(command, "sleep")) { printf("up\n"); fflush(stdout); for (;;) pause(); }
    if (!strcmp(command, "term")) {
        /* The first process of a namespace ignores signals without a handler. */
        sigset_t set; int got;
        sigemptyset(&set); sigaddset(&set, SIGTERM); sigprocmask(SIG_BLOCK, &set, 0);
        printf("up\n"); fflush(stdout);
        sigwait(&set, &got);
        return 42;
    }
    if (!strcmp(command, "cat")) { for (int i = 2; i < argc; i++) cat(argv[i]); return 0; }
    if (!strcmp(command, "stdin")) return cat("/dev/stdin");
    if (!strcmp(command, "write")) return write_to(a, argc > 3 ? argv[3] : "");
    if (!strcmp(command, "try")) { try_calls(); return 0; }
    if (!strcmp(command, "list")) return list(a);
    if (!strcmp(command, "env")) { for (char **e = environ; *e; e++) printf("%s\n", *e); return 0; }
    if (!strcmp(command, "fds")) {
        for (int i = 0; i < 4096; i++) if (fcntl(i, F_GETFD) >= 0) printf("%d\n", i);
        return 0;
    }
    if (!strcmp(command, "ids")) {
        gid_t groups[64];
        int n = getgroups(64, groups);
        printf("%d %d %d %d", getuid(), geteuid(), getgid(), getegid());
        for (int i = 0; i < n; i++) printf(" %d", groups[i]);
        printf("\npid %d sid %d umask %o\n", getpid(), getsid(0), umask(0));
        return 0;
    }
    if (!strcmp(command, "cwd")) {
        char path[4096];
        printf("%s\n", getcwd(path, sizeof path) ? path : "?");
        struct stat st;
        stat(".", &st);
        printf("owner %d %d\n", st.st_uid, st.st_gid);
        return 0;
    }
    if (!strcmp(command, "stat")) {
        struct stat st;
        if (lstat(a, &st)) { printf("lstat %d\n", errno); return 1; }
        printf("%d %d %o\n", st.st_uid, st.st_gid, st.st_mode);
        return 0;
    }
    if (!strcmp(command, "create")) {
        int fd = open(a, O_CREAT | O_WRONLY | O_EXCL, 0666);
        printf("create %d\n", fd < 0 ? errno : 0);
        return fd < 0;
    }
    if (!strcmp(command, "open-device")) {
        int fd = open(a, O_RDWR);
        printf("open %d\n", fd < 0 ? errno : 0);
        return 0;
    }
    if (!strcmp(command, "reopen-stdout")) {
        int fd = open("/dev/stdout", O_WRONLY);
        if (fd < 0) { printf("open %d\n", errno); return 1; }
        dprintf(fd, "reopened\n");
        return 0;
    }
    if (!strcmp(command, "listen")) { if (do_listen((void *)a) < 0) return 1; pause(); }
    if (!strcmp(command, "listen-thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, listen_thread, (void *)a);
        pause();
    }
    if (!strcmp(command, "listen-bad")) {
        attempt("stdin", listen(0, 1));
        attempt("closed", listen(99, 1));
        int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
        attempt("udp", listen(datagrams, 1));
        return 0;
    }
    if (!strcmp(command, "fork-bomb")) {
        int count = 0;
        while (count < 10000) {
            int pid = fork();
            if (pid < 0) break;
            if (pid == 0) { pause(); _exit(0); }
            count++;
        }
        printf("forked %d\n", count);
        return 0;
    }
    if (!strcmp(command, "orphans")) { /* leaves so many, which end a moment later */
        for (int i = 0; i < atoi(a); i++) if (!fork()) { usleep(10000); _exit(0); }
        return 0;
    }
    if (!strcmp(command, "eat")) {
        size_t want = (size_t)atol(a) << 20;
        char *memory = mmap(0, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(memory, 1, want);
        printf("ate\n");
        return 0;
    }
    if (!strcmp(command, "family")) {
        for (int i = 0; i < 5; i++) if (!fork()) { setsid(); signal(SIGTERM, SIG_IGN); for (;;) pause(); }
        printf("up\n"); fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(command, "spin")) { printf("up\n"); fflush(stdout); for (;;) ; }
    if (!strcmp(command, "swap")) {
        /* Exchanges a directory and a symbolic link for ever. */
        char link[512], spare[512];
        snprintf(link, sizeof link, "%s/link", a);
        snprintf(spare, sizeof spare, "%s/target", a);
        mkdir(spare, 0755);
        if (symlink(argv[3], link)) printf("symlink %d\n", errno);
        printf("up\n"); fflush(stdout);
        for (;;) renameat2(AT_FDCWD, link, AT_FDCWD, spare, RENAME_EXCHANGE);
    }
    if (!strcmp(command, "tty")) { open_tty(); return 0; }
    if (!strcmp(command, "clobber")) {
        /* CVE-2019-5736: reopen every process's executable for writing. */
        for (int pid = 1; pid < 64; pid++) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int fd = open(path, O_WRONLY);
            if (fd >= 0) printf("opened %s\n", path);
        }
        printf("done\n");
        return 0;
    }
    if (!strcmp(command, "mount")) { /* what CAP_SYS_ADMIN over one's own mounts gives, and what not */
        mkdir("/own", 0755);
        errno = 0;
        mount("none", "/own", "tmpfs", 0, "");
        printf("tmpfs %d\n", errno);
        char options[96];
        int fuse = open("/dev/fuse", O_RDWR);
        snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
        mkdir("/fuse", 0755);
        errno = fuse < 0 ? errno : 0;
        if (fuse >= 0) mount("none", "/fuse", "fuse", 0, options);
        printf("fuse %d\n", errno);
        errno = 0;
        umount2("/proc/kcore", MNT_DETACH);
        printf("unmask %d\n", errno);
        errno = 0;
        mkdir("/look", 0755);
        mount("/proc", "/look", NULL, MS_BIND, NULL);
        printf("under %d\n", errno);
        errno = 0;
        mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL);
        printf("writable %d\n", errno);
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(command, "limits")) return cat("/proc/self/limits");
    int code = attack(argc, argv);
    if (code >= 0) return code;
    printf("unknown command %s\n", command);
    return 99;
}

int main(int argc, char **argv) {
    int code = run(argc, argv);
    fflush(stdout);
    return code;
}
