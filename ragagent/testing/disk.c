/* Loaded before libc (LD_PRELOAD): writes down every change to the files of one folder, in order, and can make chosen
 * operations fail. What it writes down is read by disk.py, which says what it means.
 *
 * DISK_FOLDER  the folder that is watched, absolute and free of links
 * DISK_LOG     the file that the changes go to, outside the folder; none are written down without it
 * DISK_FAULT   "kind:errno:after,...": operations of that kind within the folder fail from the after-th on (from 0).
 *              Kinds: w write, s sync, o open for writing, c create, l lock (flock), p lock (fcntl)
 * DISK_CLOCK   so many seconds are added to the time of day
 *
 * A record is {kind, inode, offset, length of path, length of data} and then the path and the data. One lock is held
 * around each operation and its record, so that the log has the order of the operations of all threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST_FILES 65536
#define MOST_FAULTS 8

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int log_file = -1;
static unsigned char watched[MOST_FILES];
static struct { char kind; int error; long after; } faults[MOST_FAULTS];
static int fault_count;
static long clock_offset;

struct record { uint64_t kind, inode, offset, path_length, data_length; };

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISK_FOLDER"), *log = getenv("DISK_LOG"), *fault = getenv("DISK_FAULT");
    const char *offset = getenv("DISK_CLOCK");
    if (offset) clock_offset = atol(offset);
    if (!name || strlen(name) >= sizeof folder) return;
    strcpy(folder, name);
    folder_length = strlen(folder);
    if (log) log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    while (fault && *fault && fault_count < MOST_FAULTS) {
        if (sscanf(fault, "%c:%d:%ld", &faults[fault_count].kind, &faults[fault_count].error,
                   &faults[fault_count].after) == 3) fault_count++;
        fault = strchr(fault, ',');
        if (fault) fault++;
    }
}

static int inside(const char *path) {
    return folder_length && !strncmp(path, folder, folder_length)
        && (path[folder_length] == '/' || path[folder_length] == 0);
}

/* The path without links to itself or relative parts: enough for a folder that is given absolute. */
static void absolute(int directory, const char *path, char *out) {
    char link[64];
    ssize_t length = 0;
    if (path[0] != '/') {
        if (directory == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        length = readlink(link, out, PATH_MAX - 1);
        if (length < 0) length = 0;
        out[length++] = '/';
    }
    strncpy(out + length, path, PATH_MAX - length - 1);
    out[PATH_MAX - 1] = 0;
}

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t done = syscall(SYS_write, log_file, at, length);
        if (done <= 0) { static const char say[] = "disk: the log cannot be written\n"; syscall(SYS_write, 2, say, sizeof say); abort(); }
        at += done; length -= done;
    }
}

static void note(char kind, uint64_t inode, uint64_t offset, const char *path, size_t path_length, const void *data, size_t length) {
    if (log_file < 0) return;
    struct record record = {(uint64_t)kind, inode, offset, path_length, length};
    put(&record, sizeof record);
    put(path, path_length);
    put(data, length);
}

/* Whether an operation of that kind has to fail now; errno is set then. The lock is held. */
static int fails(char kind) {
    for (int at = 0; at < fault_count; at++)
        if (faults[at].kind == kind && faults[at].after-- <= 0) { errno = faults[at].error; return 1; }
    return 0;
}

static int is_watched(int file) { return file >= 0 && file < MOST_FILES && watched[file]; }

static uint64_t inode_of(int file) {
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static int opened(int directory, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    absolute(directory, path, full);
    if (!inside(full)) return syscall(SYS_openat, directory, path, flags, mode);
    int writing = (flags & O_ACCMODE) != O_RDONLY;
    pthread_mutex_lock(&busy);
    struct stat status;
    int is_new = (flags & O_CREAT) && stat(full, &status);
    int file = -1;
    if (!(writing && fails('o')) && !(is_new && fails('c'))) file = syscall(SYS_openat, directory, path, flags, mode);
    if (file >= 0 && file < MOST_FILES) {
        watched[file] = 1;
        uint64_t inode = inode_of(file);
        if (is_new) note('C', inode, 0, full, strlen(full), 0, 0);
        else if (writing) note('O', inode, 0, full, strlen(full), 0, 0);
        if (!is_new && writing && (flags & O_TRUNC)) note('T', inode, 0, 0, 0, 0, 0);
    }
    int error = errno;
    pthread_mutex_unlock(&busy);
    errno = error;
    return file;
}

#define MODE(flags, last) ({ va_list list; va_start(list, last); \
    mode_t given = ((flags) & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; va_end(list); given; })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags, flags)); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags, flags)); }
int openat(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags, flags)); }
int openat64(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags, flags)); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int file) {
    if (file >= 0 && file < MOST_FILES) watched[file] = 0;
    return syscall(SYS_close, file);
}

static int copied(int from, int to) {
    if (to >= 0 && to < MOST_FILES) watched[to] = is_watched(from);
    return to;
}

int dup(int file) { return copied(file, syscall(SYS_dup, file)); }
int dup2(int file, int to) { return file == to ? to : copied(file, syscall(SYS_dup3, file, to, 0)); }
int dup3(int file, int to, int flags) { return copied(file, syscall(SYS_dup3, file, to, flags)); }

static int controlled(int file, int command, void *argument) {
    if (is_watched(file) && (command == F_SETLK || command == F_SETLKW)) {
        pthread_mutex_lock(&busy);
        int failed = fails('p'), error = errno;
        pthread_mutex_unlock(&busy);
        if (failed) { errno = error; return -1; }
    }
    int result = syscall(SYS_fcntl, file, command, argument);
    return (command == F_DUPFD || command == F_DUPFD_CLOEXEC) ? copied(file, result) : result;
}

#define ARGUMENT(last) ({ va_list list; va_start(list, last); void *given = va_arg(list, void *); va_end(list); given; })

int fcntl(int file, int command, ...) { return controlled(file, command, ARGUMENT(command)); }
int fcntl64(int file, int command, ...) { return controlled(file, command, ARGUMENT(command)); }

int flock(int file, int operation) {
    if (is_watched(file)) {
        pthread_mutex_lock(&busy);
        int failed = fails('l'), error = errno;
        pthread_mutex_unlock(&busy);
        if (failed) { errno = error; return -1; }
    }
    return syscall(SYS_flock, file, operation);
}

/* --- contents ----------------------------------------------------------------------------------------------------- */

static ssize_t written(int file, const void *data, size_t length, off_t offset, int at_offset) {
    if (!is_watched(file)) return at_offset ? syscall(SYS_pwrite64, file, data, length, offset) : syscall(SYS_write, file, data, length);
    pthread_mutex_lock(&busy);
    ssize_t done = -1;
    if (!fails('w')) {
        if (!at_offset) offset = (syscall(SYS_fcntl, file, F_GETFL) & O_APPEND) ? lseek(file, 0, SEEK_END) : lseek(file, 0, SEEK_CUR);
        done = at_offset ? syscall(SYS_pwrite64, file, data, length, offset) : syscall(SYS_write, file, data, length);
        if (done > 0) note('W', inode_of(file), offset, 0, 0, data, done);
    }
    int error = errno;
    pthread_mutex_unlock(&busy);
    errno = error;
    return done;
}

ssize_t write(int file, const void *data, size_t length) { return written(file, data, length, 0, 0); }
ssize_t pwrite(int file, const void *data, size_t length, off_t offset) { return written(file, data, length, offset, 1); }
ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset) { return written(file, data, length, offset, 1); }

static int shortened(int file, off_t length) {
    if (!is_watched(file)) return syscall(SYS_ftruncate, file, length);
    pthread_mutex_lock(&busy);
    int result = fails('w') ? -1 : syscall(SYS_ftruncate, file, length);
    if (!result) note('T', inode_of(file), length, 0, 0, 0, 0);
    int error = errno;
    pthread_mutex_unlock(&busy);
    errno = error;
    return result;
}

int ftruncate(int file, off_t length) { return shortened(file, length); }
int ftruncate64(int file, off64_t length) { return shortened(file, length); }

static int synced(int file, long call) {
    if (!is_watched(file)) return syscall(call, file);
    pthread_mutex_lock(&busy);
    int result = fails('s') ? -1 : syscall(call, file);
    if (!result) {
        struct stat status;
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path);
        if (!fstat(file, &status) && length > 0)
            note(S_ISDIR(status.st_mode) ? 'F' : 'S', status.st_ino, 0, path, length, 0, 0);
    }
    int error = errno;
    pthread_mutex_unlock(&busy);
    errno = error;
    return result;
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

/* The C library's own streams do not pass through write(): give them a stream that does. */
static ssize_t stream_write(void *cookie, const char *data, size_t length) { return write((int)(intptr_t)cookie, data, length); }
static ssize_t stream_read(void *cookie, char *data, size_t length) { return read((int)(intptr_t)cookie, data, length); }
static int stream_close(void *cookie) { return close((int)(intptr_t)cookie); }
static int stream_seek(void *cookie, off64_t *offset, int whence) {
    *offset = lseek((int)(intptr_t)cookie, *offset, whence);
    return *offset < 0 ? -1 : 0;
}

static FILE *stream(const char *path, const char *mode, const char *name) {
    char full[PATH_MAX];
    absolute(AT_FDCWD, path, full);
    if (inside(full) && (mode[0] == 'w' || mode[0] == 'a')) {
        int flags = (strchr(mode, '+') ? O_RDWR : O_WRONLY) | O_CREAT | O_CLOEXEC | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
        int file = opened(AT_FDCWD, path, flags, 0666);
        cookie_io_functions_t functions = {stream_read, stream_write, stream_seek, stream_close};
        return file < 0 ? 0 : fopencookie((void *)(intptr_t)file, mode, functions);
    }
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, name);
    return real(path, mode);
}

FILE *fopen(const char *path, const char *mode) { return stream(path, mode, "fopen"); }
FILE *fopen64(const char *path, const char *mode) { return stream(path, mode, "fopen64"); }

/* Copies inside the kernel would not be seen; every caller knows how to do without. */
ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    if (is_watched(to)) { errno = EINVAL; return -1; }
    return syscall(SYS_sendfile, to, from, offset, count);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) { return sendfile(to, from, offset, count); }

/* --- names -------------------------------------------------------------------------------------------------------- */

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char paths[2 * PATH_MAX];
    absolute(from_at, from, paths);
    size_t length = strlen(paths);
    absolute(to_at, to, paths + length + 1);
    if (!inside(paths) && !inside(paths + length + 1)) return syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&busy);
    int result = fails('c') ? -1 : syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!result) note('R', 0, 0, paths, length + 1 + strlen(paths + length + 1), 0, 0);
    int error = errno;
    pthread_mutex_unlock(&busy);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return renamed(from_at, from, to_at, to, 0); }

static int changed(char kind, int at, const char *path, long argument) {
    char full[PATH_MAX];
    absolute(at, path, full);
    int seen = inside(full);
    if (seen) pthread_mutex_lock(&busy);
    int result = seen && kind == 'M' && fails('c') ? -1
        : syscall(kind == 'M' ? SYS_mkdirat : SYS_unlinkat, at, path, argument);
    if (seen && !result) note(kind, 0, 0, full, strlen(full), 0, 0);
    int error = errno;
    if (seen) pthread_mutex_unlock(&busy);
    errno = error;
    return result;
}

int unlink(const char *path) { return changed('U', AT_FDCWD, path, 0); }
int rmdir(const char *path) { return changed('U', AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return changed('U', at, path, flags); }
int mkdir(const char *path, mode_t mode) { return changed('M', AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return changed('M', at, path, mode); }

/* --- the clock ---------------------------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (!result && clock == CLOCK_REALTIME) time->tv_sec += clock_offset;
    return result;
}

/* --- what the program that is watched says ------------------------------------------------------------------------ */

void disk_mark(const char *text) {
    pthread_mutex_lock(&busy);
    note('A', 0, 0, 0, 0, text, strlen(text));
    pthread_mutex_unlock(&busy);
}
