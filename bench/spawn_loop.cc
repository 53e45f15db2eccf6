// The floor of running jobs: a program started so many times, so many at once, and its exit status
// kept. Nothing is queued, stored or told.
//
// usage: spawn_loop JOBS AT_ONCE [PROGRAM]      prints one JSON object

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern char** environ;

namespace {

double cpu_seconds(int who) {
    rusage used{};
    getrusage(who, &used);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fputs("usage: spawn_loop JOBS AT_ONCE [PROGRAM]\n", stderr);
        return 2;
    }
    const long jobs = std::atol(argv[1]);
    const long at_once = std::atol(argv[2]);
    const char* program = argc > 3 ? argv[3] : "/bin/true";
    std::vector<int> statuses;
    const auto begun = std::chrono::steady_clock::now();
    long started = 0;
    for (long running = 0; static_cast<long>(statuses.size()) < jobs;) {
        while (running < at_once && started < jobs) {
            char* words[] = {const_cast<char*>(program), nullptr};
            pid_t child = 0;
            if (posix_spawn(&child, program, nullptr, nullptr, words, environ) != 0) {
                std::perror(program);
                return 1;
            }
            ++started;
            ++running;
        }
        int status = 0;
        if (waitpid(-1, &status, 0) < 0) {
            std::perror("waitpid");
            return 1;
        }
        statuses.push_back(status);
        --running;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    const double cpu = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
    std::printf("{\"jobs_per_s\":%.1f,\"cpu_ms_per_job\":%.4f}\n",
                static_cast<double>(jobs) / took.count(), 1e3 * cpu / static_cast<double>(jobs));
    return 0;
}
