/* Records what a process does to files below $DISKLOG_ROOT, in order, so that a test can rebuild what a power cut would
   have left (tests/population/powercut.py). Preloaded; children inherit it. One record: op, ino, dir ino, two dir-ino/name
   pairs and data, all length-prefixed. The lock is held over the call and its record, across threads and processes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static pid_t log_pid;
static const char *root;

static int ready(void) {
    if (!root) root = getenv("DISKLOG_ROOT");
    if (!root) return 0;
    if (log_fd < 0 || log_pid != getpid()) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("DISKLOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        log_pid = getpid();
    }
    return log_fd >= 0;
}

static void enter(void) { pthread_mutex_lock(&mutex); if (ready()) flock(log_fd, LOCK_EX); }
static void leave(void) { int e = errno; if (log_fd >= 0) flock(log_fd, LOCK_UN); pthread_mutex_unlock(&mutex); errno = e; }

/* Absolute path of (dirfd, path), parent resolved. 1 where it is below the root. */
static int full(int dirfd, const char *path, char *out) {
    char base[PATH_MAX], link[64], joined[2 * PATH_MAX];
    if (path[0] == '/') snprintf(joined, sizeof joined, "%s", path);
    else {
        ssize_t n;
        if (dirfd == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(joined, sizeof joined, "%s/%s", base, path);
    }
    char *slash = strrchr(joined, '/');
    if (!slash || !slash[1]) return 0;
    *slash = 0;
    if (!realpath(joined[0] ? joined : "/", base)) return 0;
    snprintf(out, PATH_MAX, "%s/%s", base, slash + 1);
    return strncmp(out, root, strlen(root)) == 0;
}

static void record(char op, unsigned long ino, const char *a, const char *b, long offset, const void *data, size_t size) {
    struct { char op; char pad[7]; unsigned long ino, la, lb, offset, size; } head = {op, {0}, ino, a ? strlen(a) : 0, b ? strlen(b) : 0, (unsigned long)offset, size};
    char *buffer = malloc(sizeof head + head.la + head.lb + size), *at = buffer;
    memcpy(at, &head, sizeof head); at += sizeof head;
    if (a) { memcpy(at, a, head.la); at += head.la; }
    if (b) { memcpy(at, b, head.lb); at += head.lb; }
    if (size) memcpy(at, data, size);
    size_t total = sizeof head + head.la + head.lb + size;
    if (syscall(SYS_write, log_fd, buffer, total) != (long)total) abort();
    free(buffer);
}

static unsigned long inode_of(int fd, int *directory) {
    struct stat s;
    if (fstat(fd, &s)) return 0;
    if (directory) *directory = S_ISDIR(s.st_mode);
    return s.st_ino;
}

/* Path below the root that an open descriptor stands for now. */
static int under(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return strncmp(out, root, strlen(root)) == 0;
}

static int open_at(int dirfd, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    int writes = (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
    if (!writes) return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    enter();
    int fd, ours = log_fd >= 0 && full(dirfd, path, name);
    struct stat before;
    int existed = ours && stat(name, &before) == 0;
    fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    if (fd >= 0 && ours) {
        if (!existed) record('c', inode_of(fd, NULL), name, NULL, 0, NULL, 0);
        else if (flags & O_TRUNC) record('t', inode_of(fd, NULL), NULL, NULL, 0, NULL, 0);
    }
    leave();
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list l; va_start(l, flags); mode = va_arg(l, mode_t); va_end(l); }
int open(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags, mode); }
int openat(int d, const char *path, int flags, ...) { MODE return open_at(d, path, flags, mode); }
int openat64(int d, const char *path, int flags, ...) { MODE return open_at(d, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t write_at(int fd, const void *data, size_t size, off_t offset, int positioned) {
    char name[PATH_MAX];
    enter();
    int ours = log_fd >= 0 && fd != log_fd && under(fd, name);
    if (ours && !positioned) {
        struct stat s;
        offset = (fcntl(fd, F_GETFL) & O_APPEND) && !fstat(fd, &s) ? s.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t done = positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    if (ours && done > 0) record('w', inode_of(fd, NULL), NULL, NULL, offset, data, (size_t)done);
    leave();
    return done;
}
ssize_t write(int fd, const void *data, size_t size) { return write_at(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t o) { return write_at(fd, data, size, o, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t o) { return write_at(fd, data, size, o, 1); }

static int sync_fd(int fd, long call) {
    char name[PATH_MAX];
    int directory = 0;
    enter();
    int ours = log_fd >= 0 && under(fd, name), done = (int)syscall(call, fd);
    if (ours && !done) { unsigned long ino = inode_of(fd, &directory); record(directory ? 'd' : 's', ino, name, NULL, 0, NULL, 0); }
    leave();
    return done;
}
int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

static int cut(int fd, off_t size) {
    char name[PATH_MAX];
    enter();
    int ours = log_fd >= 0 && under(fd, name), done = (int)syscall(SYS_ftruncate, fd, size);
    if (ours && !done) record('t', inode_of(fd, NULL), NULL, NULL, size, NULL, 0);
    leave();
    return done;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int two(char op, int da, const char *a, int db, const char *b, unsigned flags) {
    char from[PATH_MAX], to[PATH_MAX];
    enter();
    int ours = log_fd >= 0 && full(da, a, from) && full(db, b, to);
    int done = op == 'r' ? (int)syscall(SYS_renameat2, da, a, db, b, flags) : (int)syscall(SYS_linkat, da, a, db, b, 0);
    if (ours && !done) record(op, 0, from, to, 0, NULL, 0);
    leave();
    return done;
}
int rename(const char *a, const char *b) { return two('r', AT_FDCWD, a, AT_FDCWD, b, 0); }
int renameat(int da, const char *a, int db, const char *b) { return two('r', da, a, db, b, 0); }
int renameat2(int da, const char *a, int db, const char *b, unsigned f) { return two('r', da, a, db, b, f); }
int link(const char *a, const char *b) { return two('l', AT_FDCWD, a, AT_FDCWD, b, 0); }
int linkat(int da, const char *a, int db, const char *b, int f) { (void)f; return two('l', da, a, db, b, 0); }

static int gone(int d, const char *path, int flags) {
    char name[PATH_MAX];
    enter();
    int ours = log_fd >= 0 && full(d, path, name), done = (int)syscall(SYS_unlinkat, d, path, flags);
    if (ours && !done) record('u', 0, name, NULL, 0, NULL, 0);
    leave();
    return done;
}
int unlink(const char *path) { return gone(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return gone(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int d, const char *path, int flags) { return gone(d, path, flags); }
int remove(const char *path) { struct stat s; return gone(AT_FDCWD, path, !lstat(path, &s) && S_ISDIR(s.st_mode) ? AT_REMOVEDIR : 0); }

static int make(int d, const char *path, mode_t mode) {
    char name[PATH_MAX];
    enter();
    int ours = log_fd >= 0 && full(d, path, name), done = (int)syscall(SYS_mkdirat, d, path, mode);
    if (ours && !done) record('m', 0, name, NULL, 0, NULL, 0);
    leave();
    return done;
}
int mkdir(const char *path, mode_t mode) { return make(AT_FDCWD, path, mode); }
int mkdirat(int d, const char *path, mode_t mode) { return make(d, path, mode); }
