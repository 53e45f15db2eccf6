// Waits for a program and for all that it leaves behind: what a daemon or a client detaches becomes
// a child of this process, so that its processor time is counted (cutime of /proc/PID/stat).
//
// usage: keeper PROGRAM [ARGUMENT...]      ends when none is left, with the status of PROGRAM
// SIGTERM is passed on to PROGRAM.

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>

extern char** environ;

namespace {

volatile pid_t kept = 0;

void pass_on(int what) { ::kill(kept, what); }

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: keeper PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t child = 0;
    if (posix_spawnp(&child, argv[1], nullptr, nullptr, argv + 1, environ) != 0) {
        std::perror(argv[1]);
        return 1;
    }
    kept = child;
    ::signal(SIGTERM, pass_on);
    int result = 1;
    for (;;) {
        int status = 0;
        const pid_t ended = ::waitpid(-1, &status, 0);
        if (ended < 0 && errno != EINTR) {
            return result;
        }
        if (ended == child) {
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
    }
}
