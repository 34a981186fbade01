/* What a hostile program would try; the other half of probe.c. Each command prints what happened. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void result(const char *name, long value) {
    printf("%s %d\n", name, value < 0 ? errno : 0);
}

/* Calls that no container may make, whatever their arguments. */
static void forbidden(void) {
    static const struct { const char *name; long number; } calls[] = {
        {"acct", SYS_acct}, {"add_key", SYS_add_key}, {"bpf", SYS_bpf},
        {"clock_settime", SYS_clock_settime}, {"delete_module", SYS_delete_module},
        {"fanotify_init", SYS_fanotify_init}, {"finit_module", SYS_finit_module},
        {"fsconfig", SYS_fsconfig}, {"fsmount", SYS_fsmount}, {"fsopen", SYS_fsopen},
        {"fspick", SYS_fspick}, {"init_module", SYS_init_module},
        {"io_uring_enter", SYS_io_uring_enter}, {"io_uring_register", SYS_io_uring_register},
        {"io_uring_setup", SYS_io_uring_setup}, {"kcmp", SYS_kcmp},
        {"kexec_file_load", SYS_kexec_file_load}, {"kexec_load", SYS_kexec_load},
        {"keyctl", SYS_keyctl}, {"lookup_dcookie", SYS_lookup_dcookie}, {"mbind", SYS_mbind},
        {"migrate_pages", SYS_migrate_pages}, {"mount", SYS_mount},
        {"mount_setattr", SYS_mount_setattr}, {"move_mount", SYS_move_mount},
        {"move_pages", SYS_move_pages}, {"nfsservctl", SYS_nfsservctl},
        {"open_by_handle_at", SYS_open_by_handle_at}, {"open_tree", SYS_open_tree},
        {"perf_event_open", SYS_perf_event_open}, {"pidfd_getfd", SYS_pidfd_getfd},
        {"pivot_root", SYS_pivot_root}, {"process_madvise", SYS_process_madvise},
        {"quotactl", SYS_quotactl}, {"quotactl_fd", SYS_quotactl_fd}, {"reboot", SYS_reboot},
        {"request_key", SYS_request_key}, {"set_mempolicy", SYS_set_mempolicy},
        {"setdomainname", SYS_setdomainname}, {"sethostname", SYS_sethostname},
        {"setns", SYS_setns}, {"settimeofday", SYS_settimeofday}, {"swapoff", SYS_swapoff},
        {"swapon", SYS_swapon}, {"syslog", SYS_syslog}, {"umount2", SYS_umount2},
        {"unshare", SYS_unshare}, {"userfaultfd", SYS_userfaultfd}, {"vhangup", SYS_vhangup},
#ifdef __x86_64__
        {"_sysctl", SYS__sysctl}, {"create_module", SYS_create_module},
        {"get_kernel_syms", SYS_get_kernel_syms}, {"ioperm", SYS_ioperm}, {"iopl", SYS_iopl},
        {"query_module", SYS_query_module}, {"sysfs", SYS_sysfs}, {"uselib", SYS_uselib},
        {"ustat", SYS_ustat},
#endif
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        result(calls[i].name, syscall(calls[i].number, -1, -1, -1, -1, -1, -1));
}

/* Every process in sight whose program or root is not ours: one that is entering the container. */
static void spy(void) {
    struct stat our_exe, our_root, st;
    stat("/proc/self/exe", &our_exe);
    stat("/", &our_root);
    printf("up\n");
    fflush(stdout);
    for (;;) {
        for (int pid = 2; pid < 300; pid++) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            if (!stat(path, &st) && (st.st_ino != our_exe.st_ino || st.st_dev != our_exe.st_dev))
                printf("saw %s\n", path);
            snprintf(path, sizeof path, "/proc/%d/root", pid);
            if (!stat(path, &st) && (st.st_ino != our_root.st_ino || st.st_dev != our_root.st_dev))
                printf("saw %s\n", path);
            for (int fd = 3; fd < 12; fd++) {
                snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                if (pid != getpid() && !stat(path, &st)) printf("saw %s\n", path);
            }
        }
        fflush(stdout);
    }
}

static void fill(const char *path) {
    static char block[65536];
    memset(block, 1, sizeof block);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) { printf("open %d\n", errno); return; }
    long total = 0;
    ssize_t n;
    while (total < (1L << 30) && (n = write(fd, block, sizeof block)) > 0) total += n;
    printf("full at %ld: %d\n", total >> 20, total < (1L << 30) ? errno : 0);
}

static void unix_credentials(void) {
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/tmp/socket" };
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    result("bind", bind(server, (void *)&address, sizeof address));
    result("listen", listen(server, 1));
    result("connect", connect(client, (void *)&address, sizeof address));
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    printf("peer pid %d uid %d gid %d\n", peer.pid == getpid(), peer.uid, peer.gid);
}

/* "@name" is abstract. */
static int dial(const char *name) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    if (*name == '@') address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int failed = connect(fd, (void *)&address, offsetof(struct sockaddr_un, sun_path) + length);
    printf("connect %d\n", failed ? errno : 0);
    return 0;
}

static int serve_abstract(const char *name) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (void *)&address, offsetof(struct sockaddr_un, sun_path) + length)) return 1;
    listen(fd, 8);
    printf("up\n");
    fflush(stdout);
    for (;;) pause();
}

/* System V memory and queues, found by their keys. */
static void ipc(int make) {
    int flags = make ? 01666 : 0;
    result("shm", syscall(SYS_shmget, 4711, 4096, flags));
    result("msg", syscall(SYS_msgget, 4711, flags));
    result("sem", syscall(SYS_semget, 4711, 1, flags));
}

/* Signals, traces and opens every process but ourselves that a number names. */
static void reach(int from, int to) {
    int reached = 0;
    for (int pid = from; pid < to; pid++) {
        if (pid == getpid() || pid == 1) continue;
        if (!kill(pid, 0) || errno == EPERM) { printf("kill %d\n", pid); reached++; }
        if (!ptrace(PTRACE_SEIZE, pid, 0, 0) || errno == EPERM) { printf("trace %d\n", pid); reached++; }
        if (syscall(SYS_pidfd_open, pid, 0) >= 0) { printf("pidfd %d\n", pid); reached++; }
    }
    printf("reached %d\n", reached);
}

int attack(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    const char *a = argc > 2 ? argv[2] : "";
    if (!strcmp(command, "forbidden")) { forbidden(); return 0; }
    if (!strcmp(command, "spy")) spy();
    if (!strcmp(command, "fill")) { fill(a); return 0; }
    if (!strcmp(command, "unix-credentials")) { unix_credentials(); return 0; }
    if (!strcmp(command, "dial")) return dial(a);
    if (!strcmp(command, "serve-abstract")) return serve_abstract(a);
    if (!strcmp(command, "ipc")) { ipc(!strcmp(a, "make")); return 0; }
    if (!strcmp(command, "reach")) { reach(atoi(a), atoi(argv[3])); return 0; }
    if (!strcmp(command, "rdev")) {
        struct stat st;
        if (stat(a, &st)) { printf("stat %d\n", errno); return 1; }
        printf("%o %d:%d\n", st.st_mode & S_IFMT, major(st.st_rdev), minor(st.st_rdev));
        return 0;
    }
    if (!strcmp(command, "replace-with-link")) {
        /* path, target */
        result("unlink", unlink(a));
        result("symlink", symlink(argv[3], a));
        return 0;
    }
    if (!strcmp(command, "mknod")) {
        /* c or b, major, minor: makes and opens a device. */
        mode_t kind = *a == 'b' ? S_IFBLK : S_IFCHR;
        result("mknod", mknod("/tmp/device", kind | 0666, makedev(atoi(argv[3]), atoi(argv[4]))));
        result("open", open("/tmp/device", O_RDWR));
        return 0;
    }
    if (!strcmp(command, "chmod-exec")) {
        /* Makes itself a copy with the setuid bits, owned by the caller, and says who that runs as. */
        result("chmod", chmod(a, 06755));
        return 0;
    }
    if (!strcmp(command, "set-file-capability")) {
        /* Version 2, CAP_SYS_ADMIN permitted and effective. */
        unsigned char value[20] = { 1, 0, 0, 2, 0, 0, 0x20, 0 };
        result("setxattr", setxattr(a, "security.capability", value, sizeof value, 0));
        return 0;
    }
    if (!strcmp(command, "reopen")) {
        /* A descriptor that an earlier program left: open what it names for writing. */
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%s", a);
        result("reopen", open(path, O_WRONLY));
        result("append", open(path, O_WRONLY | O_APPEND));
        result("fchmod", chmod(path, 0777));
        return 0;
    }
    if (!strcmp(command, "swap-cwd")) {
        /* Exchanges a directory and a magic link for ever. */
        mkdir("/tmp/here", 0755);
        symlink(a, "/tmp/other");
        printf("up\n");
        fflush(stdout);
        for (;;) renameat2(AT_FDCWD, "/tmp/here", AT_FDCWD, "/tmp/other", RENAME_EXCHANGE);
    }
    if (!strcmp(command, "fork-bomb-for-ever")) {
        int told = 0;
        for (;;) {
            int pid = fork();
            if (pid == 0) { for (;;) if (fork() < 0) sched_yield(); }
            if (pid < 0 && !told) { told = 1; printf("full\n"); fflush(stdout); }
        }
    }
    return -1;
}
