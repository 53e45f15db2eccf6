// reeve-exec: the supervisor of a node's running attempts. It outlives the daemon, so that a
// restart of the daemon ends no job. This module makes system calls of its own: it is one of the
// two places that may.
//
//     reeve-exec --state DIR --socket PATH [--idle-exit SECONDS] [--foreground]
//
// Exit codes: 0 told to stop, or idle; 2 wrong usage; 6 another supervisor has the state directory
// or the socket; 1 the operating system failed.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

#include "exec/server.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr int exit_conflict = 6;
constexpr int default_idle_exit_s = 600;

constexpr const char* usage =
    "usage: reeve-exec --state DIR --socket PATH [--idle-exit SECONDS] [--foreground]\n"
    "\n"
    "Runs the commands of a node's attempts, and keeps their outcomes until the worker has "
    "recorded\n"
    "them. The worker starts it; by hand it is of use for tests only.\n"
    "\n"
    "  --state DIR            its lock and its outcomes; must exist\n"
    "  --socket PATH          where the worker dials\n"
    "  --idle-exit SECONDS    leave after so long without a worker and without work (600; 0: "
    "never)\n"
    "  --foreground           end at Ctrl-C and when the terminal closes\n";

struct Options {
    ServerOptions server;
    bool foreground = false;
    bool help = false;
};

Result<Duration> parse_seconds(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0 ||
        value > 1'000'000'000) {
        return Error{Code::invalid,
                     "--idle-exit " + std::string(text) + " is no number of seconds"};
    }
    return Duration(seconds(value));
}

Result<Options> parse(int argc, char** argv) {
    Options options;
    options.server.idle_exit = seconds(default_idle_exit_s);
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--help" || word == "-h") {
            options.help = true;
            return options;
        }
        if (word == "--foreground") {
            options.foreground = true;
            continue;
        }
        if (word != "--state" && word != "--socket" && word != "--idle-exit") {
            return Error{Code::invalid, "unknown argument " + std::string(word)};
        }
        if (i + 1 == argc) {
            return Error{Code::invalid, std::string(word) + " needs a value"};
        }
        const std::string value = argv[++i];
        if (word == "--state") {
            options.server.state_directory = value;
        } else if (word == "--socket") {
            options.server.socket_path = value;
        } else {
            TRY_ASSIGN(options.server.idle_exit, parse_seconds(value));
        }
    }
    if (options.server.state_directory.empty() || options.server.socket_path.empty()) {
        return Error{Code::invalid, "--state and --socket are needed"};
    }
    return options;
}

/// Descriptors 0 to 2 must be open, or those of an attempt would get their numbers.
void open_standard_streams() {
    int fd = 0;
    do {
        fd = ::open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        ::close(fd);
    }
}

Result<Fd> take_signals(bool foreground) {
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGCHLD, SIG_DFL);
    sigset_t taken;
    ::sigemptyset(&taken);
    ::sigaddset(&taken, SIGTERM);
    ::sigaddset(&taken, SIGCHLD);
    for (const int of_terminal : {SIGINT, SIGHUP}) {
        if (foreground) {
            ::sigaddset(&taken, of_terminal);
        } else {
            ::signal(of_terminal, SIG_IGN);
        }
    }
    if (::sigprocmask(SIG_SETMASK, &taken, nullptr) != 0) {
        return system_error(errno, "sigprocmask");
    }
    Fd fd(::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) {
        return system_error(errno, "signalfd");
    }
    return fd;
}

int run(const Options& options) {
    open_standard_streams();
    auto signals = take_signals(options.foreground);
    if (!signals) {
        say(signals.error().message);
        return exit_failed;
    }
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        say("subreaper: " + errno_text(errno) + "; detached processes of jobs may survive them");
    }
    auto server = Server::open(options.server, std::move(*signals));
    if (!server) {
        say(server.error().message);
        return server.error().code == Code::conflict  ? exit_conflict
               : server.error().code == Code::invalid ? exit_usage
                                                      : exit_failed;
    }
    if (auto done = (*server)->run(); !done) {
        say(done.error().message);
        return exit_failed;
    }
    return 0;
}

}  // namespace
}  // namespace reeve::exec

int main(int argc, char** argv) {
    const auto options = reeve::exec::parse(argc, argv);
    if (!options) {
        std::fprintf(stderr, "reeve-exec: %s\n\n%s", options.error().message.c_str(),
                     reeve::exec::usage);
        return reeve::exec::exit_usage;
    }
    if (options->help) {
        std::fputs(reeve::exec::usage, stdout);
        return 0;
    }
    return reeve::exec::run(*options);
}
