/* Faults of a file system and of a clock, injected into a real process: preloaded (LD_PRELOAD), it
 * stands between a program and libc's file calls and obeys the file `rules` in the directory named
 * by REEVE_FAULTS, looked at anew at each call, so that a test can switch faults on and off under a
 * running daemon. Without the variable, or without that file, every call passes.
 *
 *   <id> <fault> <argument> <classes> <every> <times> <path prefix>        one rule a line
 *
 *   hang -          the call waits until the rule is gone, and is made then: a hard mount
 *   delay MS        the call is made MS milliseconds later
 *   errno NAME      the call is not made and fails with this error
 *   lie NAME        the call is made, and fails with this error: a reply that was lost
 *   short BYTES     a read or a write moves at most so many bytes
 *   die -           the process ends by SIGKILL instead of making the call
 *   trace -         nothing; the file `trace.<id>` beside `rules` gets a line, the class and the path
 *   clock +-MS      the wall clock is off by so much; the monotonic one never is
 *   clock freeze    the wall clock stands still from the first look at it on
 *
 * classes: words of class_names joined by commas, or `*`. Of the calls that match, each <every>th is
 * hit (0: each), and not more than <times> (0: without end), counted in each process. The first hit
 * makes the empty file `hit.<id>` beside `rules`, so that a test can know that its fault was met.
 *
 * What is mapped into memory (LMDB's reads, its syncs by msync) is out of reach, and so are
 * libc's calls to itself (fopen). */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum class_bit { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, LINK = 16, RENAME = 32, META = 64,
                 CLOSE = 128, STAT = 256 };
static const struct { const char* name; unsigned bit; } class_names[] = {
    {"open", OPEN},     /* an existing file or directory, for reading */
    {"read", READ},     /* read, pread */
    {"stat", STAT},     /* stat and its kin, statvfs, readdir */
    {"write", WRITE},   /* write, pwrite, ftruncate; opening for writing */
    {"sync", SYNC},     /* fsync, fdatasync, also of directories */
    {"link", LINK},     {"rename", RENAME},
    {"meta", META},     /* creating, mkdir, unlink, rmdir */
    {"close", CLOSE},   {"*", ~0u}};
static const struct { const char* name; int value; } error_names[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},   {"ESTALE", ESTALE},
    {"EINTR", EINTR},   {"EDQUOT", EDQUOT}, {"ENOENT", ENOENT}, {"EEXIST", EEXIST},
    {"EACCES", EACCES}, {"ETIMEDOUT", ETIMEDOUT}};

enum fault { HANG, DELAY, ERRNO, LIE, SHORT, DIE, TRACE, CLOCK, FREEZE };
struct rule {
    int id;
    enum fault fault;
    long argument;
    unsigned classes, every, times, met, hits;
    size_t prefix_length;
    char prefix[512];
};
enum { MAX_RULES = 16 };
static struct {
    pthread_mutex_t mutex;
    struct rule rules[MAX_RULES];
    int count;
    struct stat seen;         /* of the file that `rules` were read from */
    struct timespec frozen;   /* what a clock that stands shows */
    int frozen_by;            /* the rule that stopped it */
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER, .frozen_by = -1};

/* What is to become of one call. */
struct verdict { int error, lie; size_t most; };

#define REAL(result, name, ...)                          \
    static result (*real)(__VA_ARGS__);                  \
    if (real == NULL) {                                  \
        *(void**)(&real) = dlsym(RTLD_NEXT, #name);      \
    }

static void pause_ms(long ms) {
    const struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

/* A child must not inherit a mutex that another thread of its parent held. */
static void hold(void) { pthread_mutex_lock(&state.mutex); }
static void release(void) { pthread_mutex_unlock(&state.mutex); }
__attribute__((constructor)) static void begin(void) { pthread_atfork(hold, release, release); }

/* ---- the rules: read with raw system calls, because the functions below are our own ---------- */

static int parse_fault(struct rule* rule, const char* fault, const char* argument) {
    static const char* const names[] = {"hang", "delay", "errno", "lie", "short", "die", "trace",
                                        "clock"};
    for (int i = 0; i < 8; ++i) {
        if (strcmp(fault, names[i]) == 0) {
            rule->fault = (enum fault)i;
            rule->argument = strtol(argument, NULL, 10);
            if (strcmp(argument, "freeze") == 0) {
                rule->fault = FREEZE;
            }
            for (size_t e = 0; e < sizeof error_names / sizeof *error_names; ++e) {
                if (strcmp(argument, error_names[e].name) == 0) {
                    rule->argument = error_names[e].value;
                }
            }
            return 1;
        }
    }
    return 0;
}

static unsigned parse_classes(char* words) {
    unsigned bits = 0;
    char* rest = NULL;
    for (char* word = strtok_r(words, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        for (size_t c = 0; c < sizeof class_names / sizeof *class_names; ++c) {
            bits |= strcmp(word, class_names[c].name) == 0 ? class_names[c].bit : 0;
        }
    }
    return bits;
}

/* A rule that stands there already keeps its counts. A line that is not understood ends the process:
 * a test must not pass because its fault was misspelt. */
static void parse(char* text) {
    struct rule old[MAX_RULES];
    memcpy(old, state.rules, sizeof old);
    const int old_count = state.count;
    state.count = 0;
    char* rest = NULL;
    for (char* line = strtok_r(text, "\n", &rest); line != NULL && state.count < MAX_RULES;
         line = strtok_r(NULL, "\n", &rest)) {
        struct rule rule;
        char fault[16], argument[32], classes[64];
        memset(&rule, 0, sizeof rule);
        if (sscanf(line, "%d %15s %31s %63s %u %u %511s", &rule.id, fault, argument, classes,
                   &rule.every, &rule.times, rule.prefix) != 7 ||
            !parse_fault(&rule, fault, argument) || (rule.classes = parse_classes(classes)) == 0) {
            fprintf(stderr, "fault shim: bad rule: %s\n", line);
            abort();
        }
        rule.prefix_length = strlen(rule.prefix);
        for (int i = 0; i < old_count; ++i) {
            if (old[i].id == rule.id) {
                rule = old[i];
            }
        }
        state.rules[state.count++] = rule;
    }
}

/* With the mutex held. `rules` is replaced by rename, so another inode or time tells a change. */
static void refresh(const char* directory) {
    char path[PATH_MAX], text[16384];
    struct stat now;
    snprintf(path, sizeof path, "%s/rules", directory);
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &now, 0) != 0) {
        memset(&now, 0, sizeof now);
    }
    if (now.st_ino == state.seen.st_ino && now.st_size == state.seen.st_size &&
        now.st_mtim.tv_sec == state.seen.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == state.seen.st_mtim.tv_nsec) {
        return;
    }
    state.seen = now;
    state.count = 0;
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        const long n = syscall(SYS_read, fd, text, sizeof text - 1);
        syscall(SYS_close, fd);
        text[n > 0 ? n : 0] = 0;
        parse(text);
    }
}

static void mark_hit(const char* directory, struct rule* rule) {
    if (rule->hits++ == 0) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/hit.%d", directory, rule->id);
        const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd >= 0) {
            syscall(SYS_close, fd);
        }
    }
}

static void trace(const char* directory, const struct rule* rule, unsigned class, const char* path) {
    char file[PATH_MAX], line[2 * PATH_MAX + 32];
    const char* name = "";
    for (size_t c = 0; c < sizeof class_names / sizeof *class_names; ++c) {
        name = class_names[c].bit == class ? class_names[c].name : name;
    }
    snprintf(file, sizeof file, "%s/trace.%d", directory, rule->id);
    const int length = snprintf(line, sizeof line, "%s %s\n", name, path);
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                                0666);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, (size_t)length);
        syscall(SYS_close, fd);
    }
}

static int below(const struct rule* rule, const char* path) {
    return strncmp(path, rule->prefix, rule->prefix_length) == 0 &&
           (path[rule->prefix_length] == '/' || path[rule->prefix_length] == 0 ||
            rule->prefix[rule->prefix_length - 1] == '/');
}

/* ---- what becomes of a call ------------------------------------------------------------------ */

/* One look with the mutex held; returns 1 while the call has to hang. */
static int look(const char* directory, unsigned class, const char* path, struct verdict* verdict,
                long* wait_ms) {
    int hangs = 0;
    refresh(directory);
    for (int i = 0; i < state.count; ++i) {
        struct rule* rule = &state.rules[i];
        if (rule->fault == HANG && (rule->classes & class) != 0 && below(rule, path)) {
            mark_hit(directory, rule);
            hangs = 1;
        }
    }
    for (int i = 0; i < state.count && !hangs; ++i) {
        struct rule* rule = &state.rules[i];
        if (rule->fault == HANG || rule->fault >= CLOCK || (rule->classes & class) == 0 ||
            !below(rule, path) || (rule->times != 0 && rule->hits >= rule->times) ||
            (rule->every != 0 && ++rule->met % rule->every != 0)) {
            continue;
        }
        mark_hit(directory, rule);
        if (rule->fault == TRACE) {
            trace(directory, rule, class, path);
        }
        if (rule->fault == DIE) {
            syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
        }
        *wait_ms += rule->fault == DELAY ? rule->argument : 0;
        verdict->error = rule->fault == ERRNO ? (int)rule->argument : verdict->error;
        verdict->lie = rule->fault == LIE ? (int)rule->argument : verdict->lie;
        verdict->most = rule->fault == SHORT ? (size_t)rule->argument : verdict->most;
    }
    return hangs;
}

static struct verdict judge(unsigned class, const char* path) {
    struct verdict verdict = {0, 0, SIZE_MAX};
    const char* directory = getenv("REEVE_FAULTS");
    if (directory == NULL || path == NULL) {
        return verdict;
    }
    const int before = errno;
    long wait_ms = 0;
    for (;;) {
        pthread_mutex_lock(&state.mutex);
        const int hangs = look(directory, class, path, &verdict, &wait_ms);
        pthread_mutex_unlock(&state.mutex);
        if (!hangs) {
            break;
        }
        pause_ms(20);
    }
    if (wait_ms > 0) {
        pause_ms(wait_ms);
    }
    errno = before;
    return verdict;
}

/* The path behind a descriptor, or of a name relative to one. */
static struct verdict judge_at(unsigned class, int fd, const char* name) {
    char path[2 * PATH_MAX] = "", link[64];
    if (getenv("REEVE_FAULTS") == NULL || (name != NULL && name[0] == '/')) {
        return judge(class, name);
    }
    if (fd == AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/cwd");
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    }
    const int before = errno;
    const long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_MAX);
    errno = before;
    size_t length = n > 0 ? (size_t)n : 0;
    path[length] = 0;
    if (name != NULL && name[0] != 0) {
        snprintf(path + length, sizeof path - length, "/%s", name);
    }
    return judge(class, path);
}

#define FAIL_IF(verdict, result) \
    if ((verdict).error != 0) {  \
        errno = (verdict).error; \
        return result;           \
    }

/* After a call that was made: 0, or -1 with the error of a lost reply. */
static int replied(struct verdict verdict, int result) {
    if (result == 0 && verdict.lie != 0) {
        errno = verdict.lie;
        return -1;
    }
    return result;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- the calls ------------------------------------------------------------------------------- */

static unsigned class_of_open(int flags) {
    const int writes = (flags & O_ACCMODE) != O_RDONLY;
    return (flags & O_CREAT) != 0 ? META : writes ? WRITE : OPEN;
}

#define OPEN_CALL(name)                                                          \
    int name(const char* path, int flags, ...) {                                 \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                            \
        const struct verdict verdict = judge_at(class_of_open(flags), AT_FDCWD, path);  \
        FAIL_IF(verdict, -1)                                                     \
        REAL(int, name, const char*, int, ...)                                   \
        return real(path, flags, mode);                                          \
    }
OPEN_CALL(open)
OPEN_CALL(open64)

#define OPENAT_CALL(name)                                                        \
    int name(int at, const char* path, int flags, ...) {                         \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                            \
        const struct verdict verdict = judge_at(class_of_open(flags), at, path); \
        FAIL_IF(verdict, -1)                                                     \
        REAL(int, name, int, const char*, int, ...)                              \
        return real(at, path, flags, mode);                                      \
    }
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

int creat(const char* path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    const struct verdict verdict = judge_at(CLOSE, fd, NULL);
    REAL(int, close, int)
    const int result = real(fd);
    FAIL_IF(verdict, -1) /* the descriptor is gone all the same */
    return result;
}

ssize_t read(int fd, void* out, size_t n) {
    const struct verdict verdict = judge_at(READ, fd, NULL);
    FAIL_IF(verdict, -1)
    REAL(ssize_t, read, int, void*, size_t)
    return real(fd, out, least(n, verdict.most));
}

ssize_t write(int fd, const void* bytes, size_t n) {
    const struct verdict verdict = judge_at(WRITE, fd, NULL);
    FAIL_IF(verdict, -1)
    REAL(ssize_t, write, int, const void*, size_t)
    return real(fd, bytes, least(n, verdict.most));
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
    const struct verdict verdict = judge_at(WRITE, fd, NULL);
    FAIL_IF(verdict, -1)
    REAL(ssize_t, writev, int, const struct iovec*, int)
    return real(fd, parts, count);
}

#define PREAD_CALL(name)                                                         \
    ssize_t name(int fd, void* out, size_t n, off_t at) {                        \
        const struct verdict verdict = judge_at(READ, fd, NULL);                 \
        FAIL_IF(verdict, -1)                                                     \
        REAL(ssize_t, name, int, void*, size_t, off_t)                           \
        return real(fd, out, least(n, verdict.most), at);                        \
    }
PREAD_CALL(pread)
PREAD_CALL(pread64)

#define PWRITE_CALL(name)                                                        \
    ssize_t name(int fd, const void* bytes, size_t n, off_t at) {                \
        const struct verdict verdict = judge_at(WRITE, fd, NULL);                \
        FAIL_IF(verdict, -1)                                                     \
        REAL(ssize_t, name, int, const void*, size_t, off_t)                     \
        return real(fd, bytes, least(n, verdict.most), at);                      \
    }
PWRITE_CALL(pwrite)
PWRITE_CALL(pwrite64)

#define FD_CALL(name, class)                                                     \
    int name(int fd) {                                                           \
        const struct verdict verdict = judge_at(class, fd, NULL);                \
        FAIL_IF(verdict, -1)                                                     \
        REAL(int, name, int)                                                     \
        return real(fd);                                                         \
    }
FD_CALL(fsync, SYNC)
FD_CALL(fdatasync, SYNC)

int ftruncate(int fd, off_t length) {
    const struct verdict verdict = judge_at(WRITE, fd, NULL);
    FAIL_IF(verdict, -1)
    REAL(int, ftruncate, int, off_t)
    return real(fd, length);
}

int posix_fallocate(int fd, off_t at, off_t length) {
    const struct verdict verdict = judge_at(WRITE, fd, NULL);
    if (verdict.error != 0) {
        return verdict.error;
    }
    REAL(int, posix_fallocate, int, off_t, off_t)
    return real(fd, at, length);
}

/* A link and a rename are judged by the name that they give. */
int linkat(int from_at, const char* from, int at, const char* to, int flags) {
    const struct verdict verdict = judge_at(LINK, at, to);
    FAIL_IF(verdict, -1)
    REAL(int, linkat, int, const char*, int, const char*, int)
    return replied(verdict, real(from_at, from, at, to, flags));
}

int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int renameat2(int from_at, const char* from, int at, const char* to, unsigned flags) {
    const struct verdict verdict = judge_at(RENAME, at, to);
    FAIL_IF(verdict, -1)
    REAL(int, renameat2, int, const char*, int, const char*, unsigned)
    return replied(verdict, real(from_at, from, at, to, flags));
}

int renameat(int from_at, const char* from, int at, const char* to) {
    return renameat2(from_at, from, at, to, 0);
}

int rename(const char* from, const char* to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

#define META_CALL(name)                                                          \
    int name(const char* path) {                                                 \
        const struct verdict verdict = judge_at(META, AT_FDCWD, path);           \
        FAIL_IF(verdict, -1)                                                     \
        REAL(int, name, const char*)                                             \
        return real(path);                                                       \
    }
META_CALL(unlink)
META_CALL(rmdir)

int unlinkat(int at, const char* path, int flags) {
    const struct verdict verdict = judge_at(META, at, path);
    FAIL_IF(verdict, -1)
    REAL(int, unlinkat, int, const char*, int)
    return real(at, path, flags);
}

int mkdirat(int at, const char* path, mode_t mode) {
    const struct verdict verdict = judge_at(META, at, path);
    FAIL_IF(verdict, -1)
    REAL(int, mkdirat, int, const char*, mode_t)
    return real(at, path, mode);
}

int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

DIR* opendir(const char* path) {
    const struct verdict verdict = judge_at(OPEN, AT_FDCWD, path);
    FAIL_IF(verdict, NULL)
    REAL(DIR*, opendir, const char*)
    return real(path);
}

struct dirent* readdir(DIR* stream) {
    const struct verdict verdict = judge_at(STAT, dirfd(stream), NULL);
    FAIL_IF(verdict, NULL)
    REAL(struct dirent*, readdir, DIR*)
    return real(stream);
}

#define STAT_CALL(name)                                                          \
    int name(const char* path, struct stat* out) {                               \
        const struct verdict verdict = judge_at(STAT, AT_FDCWD, path);           \
        FAIL_IF(verdict, -1)                                                     \
        REAL(int, name, const char*, struct stat*)                               \
        return real(path, out);                                                  \
    }
STAT_CALL(stat)
STAT_CALL(lstat)

int fstat(int fd, struct stat* out) {
    const struct verdict verdict = judge_at(STAT, fd, NULL);
    FAIL_IF(verdict, -1)
    REAL(int, fstat, int, struct stat*)
    return real(fd, out);
}

int fstatat(int at, const char* path, struct stat* out, int flags) {
    const struct verdict verdict = judge_at(STAT, at, path);
    FAIL_IF(verdict, -1)
    REAL(int, fstatat, int, const char*, struct stat*, int)
    return real(at, path, out, flags);
}

int statx(int at, const char* path, int flags, unsigned mask, struct statx* out) {
    const struct verdict verdict = judge_at(STAT, at, path);
    FAIL_IF(verdict, -1)
    REAL(int, statx, int, const char*, int, unsigned, struct statx*)
    return real(at, path, flags, mask, out);
}

int statvfs(const char* path, struct statvfs* out) {
    const struct verdict verdict = judge_at(STAT, AT_FDCWD, path);
    FAIL_IF(verdict, -1)
    REAL(int, statvfs, const char*, struct statvfs*)
    return real(path, out);
}

/* ---- the wall clock -------------------------------------------------------------------------- */

static void bend(struct timespec* now) {
    const char* directory = getenv("REEVE_FAULTS");
    if (directory == NULL) {
        return;
    }
    const int before = errno;
    pthread_mutex_lock(&state.mutex);
    refresh(directory);
    for (int i = 0; i < state.count; ++i) {
        struct rule* rule = &state.rules[i];
        if (rule->fault == FREEZE) {
            if (state.frozen_by != rule->id) {
                state.frozen_by = rule->id;
                state.frozen = *now;
            }
            *now = state.frozen;
            mark_hit(directory, rule);
        } else if (rule->fault == CLOCK) {
            const long ns = now->tv_nsec + rule->argument % 1000 * 1000000;
            now->tv_sec += rule->argument / 1000 + (ns < 0 ? -1 : ns / 1000000000);
            now->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
            mark_hit(directory, rule);
        }
    }
    pthread_mutex_unlock(&state.mutex);
    errno = before;
}

int clock_gettime(clockid_t id, struct timespec* out) {
    REAL(int, clock_gettime, clockid_t, struct timespec*)
    const int result = real(id, out);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        bend(out);
    }
    return result;
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
    (void)zone;
    struct timespec now;
    const int result = clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t* out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
