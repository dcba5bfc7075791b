/* LD_PRELOAD library: makes chosen calls on files below a folder fail, and logs them in order.
 *
 * FAULT_DIR    part of the path of the files that are meant
 * FAULT_RULES  "link=1,write=28:0.5": the call fails with that errno, with that probability (default 1)
 * FAULT_SEED   of the probabilities
 * FAULT_LOG    file to which "CALL PATH" is appended for every call that was let through
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
typedef int (*two_paths)(const char *, const char *);
typedef int (*one_path)(const char *);
typedef int (*handle)(int);

static int is_meant(const char *path) {
    const char *dir = getenv("FAULT_DIR");
    char full[8192];
    if (!dir || !path) return 0;
    if (path[0] != '/' && getcwd(full, 4096)) {
        strcat(full, "/");
        strncat(full, path, 4000);
        path = full;
    }
    return strstr(path, dir) != NULL;
}

static const char *path_of(int fd) {
    static __thread char path[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return path;
}

/* Return the errno with which a call is to fail, 0 to let it through; log the latter. */
static int fault(const char *call, const char *path) {
    static int is_seeded;
    if (!is_meant(path)) return 0;
    if (!is_seeded) {
        const char *seed = getenv("FAULT_SEED");
        srand48(seed ? atol(seed) : 0);
        is_seeded = 1;
    }
    const char *rules = getenv("FAULT_RULES");
    size_t length = strlen(call);
    for (const char *rule = rules; rule; rule = strchr(rule, ',') ? strchr(rule, ',') + 1 : NULL) {
        if (strncmp(rule, call, length) || rule[length] != '=') continue;
        char *end;
        int number = (int)strtol(rule + length + 1, &end, 10);
        double p = *end == ':' ? atof(end + 1) : 1.0;
        if (drand48() < p) return number;
    }
    const char *log = getenv("FAULT_LOG");
    if (log) {
        int saved = errno, fd = REAL("open64", int (*)(const char *, int, ...))(log, O_WRONLY | O_APPEND | O_CREAT, 0666);
        char line[8192];
        int n = snprintf(line, sizeof line, "%s %s\n", call, path);
        if (fd >= 0) {
            if (REAL("write", ssize_t(*)(int, const void *, size_t))(fd, line, n) < 0) abort();
            close(fd);
        }
        errno = saved;
    }
    return 0;
}

#define FAIL(call, path)                     \
    do {                                     \
        int number = fault(call, path);      \
        if (number) { errno = number; return -1; } \
    } while (0)

int link(const char *from, const char *to) { FAIL("link", to); return REAL("link", two_paths)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    FAIL("link", to);
    return REAL("linkat", int (*)(int, const char *, int, const char *, int))(a, from, b, to, flags);
}
int rename(const char *from, const char *to) { FAIL("rename", to); return REAL("rename", two_paths)(from, to); }
int unlink(const char *path) { FAIL("unlink", path); return REAL("unlink", one_path)(path); }
int mkdir(const char *path, mode_t mode) { FAIL("mkdir", path); return REAL("mkdir", int (*)(const char *, mode_t))(path, mode); }
int fsync(int fd) { FAIL("fsync", path_of(fd)); return REAL("fsync", handle)(fd); }
ssize_t write(int fd, const void *bytes, size_t n) {
    if (fd > 2) FAIL("write", path_of(fd));
    return REAL("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, n);
}
ssize_t read(int fd, void *bytes, size_t n) {
    if (fd > 2) FAIL("read", path_of(fd));
    return REAL("read", ssize_t(*)(int, void *, size_t))(fd, bytes, n);
}
#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        mode_t mode = 0;                                                  \
        if (flags & O_CREAT) {                                            \
            va_list rest;                                                 \
            va_start(rest, flags);                                        \
            mode = va_arg(rest, int);                                     \
            va_end(rest);                                                 \
            FAIL("create", path);                                         \
        }                                                                 \
        return REAL(#name, int (*)(const char *, int, ...))(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
