/* Lets chosen file calls fail below a folder: LD_PRELOAD this, and set
 *   FAULT_BELOW  the folder; calls on paths elsewhere are left alone
 *   FAULT_CALLS  a list such as "link=EPERM:1,fsync=EIO:0.02": call, error, probability
 *   FAULT_LOG    a file that gets a line per call that failed; optional
 * Calls: link (linkat too), rename, fsync (fdatasync too), open for writing (open64 too), write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned int seed;

static int number_of(const char *name, size_t length) {
    if (!strncmp(name, "EPERM", length)) return EPERM;
    if (!strncmp(name, "ENOSPC", length)) return ENOSPC;
    return EIO;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int noted(const char *call, const char *path, int error) {
    const char *log = getenv("FAULT_LOG");
    int handle = log ? REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (handle >= 0) {
        dprintf(handle, "%d %s %s\n", error, call, path);
        close(handle);
    }
    return error;
}

/* Returns the error with which a call on a path should fail now; 0 lets it through. */
static int fault(const char *call, const char *path) {
    const char *below = getenv("FAULT_BELOW"), *calls = getenv("FAULT_CALLS");
    if (!below || !calls || !path || strncmp(path, below, strlen(below))) return 0;
    size_t length = strlen(call);
    for (const char *at = calls; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, call, length) || at[length] != '=') continue;
        const char *name = at + length + 1, *colon = strchr(name, ':');
        if (!colon) return 0;
        if (!seed) seed = (unsigned int)(getpid() ^ time(NULL)) | 1u;
        double draw = rand_r(&seed) / (double)RAND_MAX;
        if (draw >= atof(colon + 1)) return 0;
        return noted(call, path, number_of(name, (size_t)(colon - name)));
    }
    return 0;
}

static int fault_of_handle(const char *call, int handle) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return fault(call, path);
}

#define FAIL_IF(found) \
    do { int error = (found); if (error) { errno = error; return -1; } } while (0)

int link(const char *from, const char *to) {
    FAIL_IF(fault("link", to));
    return REAL(link)(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    FAIL_IF(fault("link", to));
    return REAL(linkat)(a, from, b, to, flags);
}

int rename(const char *from, const char *to) {
    FAIL_IF(fault("rename", to));
    return REAL(rename)(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    FAIL_IF(fault("rename", to));
    return REAL(renameat)(a, from, b, to);
}

int fsync(int handle) {
    FAIL_IF(fault_of_handle("fsync", handle));
    return REAL(fsync)(handle);
}

int fdatasync(int handle) {
    FAIL_IF(fault_of_handle("fsync", handle));
    return REAL(fdatasync)(handle);
}

ssize_t write(int handle, const void *content, size_t size) {
    if (handle > 2) FAIL_IF(fault_of_handle("write", handle));
    return REAL(write)(handle, content, size);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0; \
        va_end(rest); \
        if (flags & (O_WRONLY | O_RDWR)) FAIL_IF(fault("open", path)); \
        return REAL(name)(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
