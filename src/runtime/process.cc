#include "runtime/process.h"

// Signals and the service manager first, then the start of a detached program, then the
// rest in the order of the header.

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/os.h"

namespace reeve::runtime {

namespace {

sigset_t waited_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        ::sigaddset(&set, signal);
    }
    return set;
}

}  // namespace

SignalWaiter::SignalWaiter() {
    const auto set = waited_signals();
    CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
    for (const int signal : {SIGPIPE, SIGXFSZ}) {
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        CHECK(::sigaction(signal, &ignore, nullptr) == 0);
    }
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(fd_ >= 0);
}

SignalWaiter::~SignalWaiter() { ::close(fd_); }

std::optional<int> SignalWaiter::wait(Duration timeout) {
    const auto ready = wait_fd(fd_, POLLIN, monotonic_now() + timeout);
    signalfd_siginfo info{};
    if (!ready || !*ready || ::read(fd_, &info, sizeof info) != sizeof info) {
        return std::nullopt;
    }
    return static_cast<int>(info.ssi_signo);
}

bool sd_notify(std::string_view state) {
    const char* variable = std::getenv("NOTIFY_SOCKET");
    const std::string_view name = variable != nullptr ? variable : "";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (name.size() < 2 || name.size() >= sizeof address.sun_path ||
        (name.front() != '/' && name.front() != '@')) {
        return false;
    }
    name.copy(address.sun_path, name.size());
    if (name.front() == '@') {
        address.sun_path[0] = '\0';  // an abstract name
    }
    const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const auto sent = retry_eintr([&] {
        return ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                        reinterpret_cast<const sockaddr*>(&address), size);
    });
    return sent == static_cast<ssize_t>(state.size());
}

namespace {

/// What the child needs, made before fork: after it only async-signal-safe calls are allowed, since
/// another thread may have held any lock.
struct Launch {
    std::vector<char*> argv;
    UniqueFd null_in;
    UniqueFd log;
    UniqueFd report;  // closed by a successful exec; else the errno of what failed comes through
    int top_fd = 0;
};

/// Out of the way of 0, 1 and 2, which the child fills.
Result<UniqueFd> above_stdio(UniqueFd fd, const std::string& what) {
    UniqueFd moved(fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3) : -1);
    if (!moved) {
        return os_error(errno, "open", what);
    }
    return moved;
}

[[noreturn]] void report_errno(int fd) {
    const int err = errno;
    (void)!::write(fd, &err, sizeof err);
    ::_exit(127);
}

void forget_signals() {
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) {
        ::sigaction(signal, &plain, nullptr);  // refused for KILL and STOP, which have no other
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become_program(const Launch& launch) {
    const int report = launch.report.get();
    forget_signals();
    if (::dup2(launch.null_in.get(), 0) < 0 || ::dup2(launch.log.get(), 1) < 0 ||
        ::dup2(launch.log.get(), 2) < 0) {
        report_errno(report);
    }
    if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
        for (int fd = 3; fd < launch.top_fd; ++fd) {  // a kernel before 5.11
            ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    ::execv(launch.argv[0], launch.argv.data());
    report_errno(report);
}

[[noreturn]] void fork_again(const Launch& launch) {
    if (::setsid() < 0) {
        report_errno(launch.report.get());
    }
    const pid_t grandchild = ::fork();
    if (grandchild < 0) {
        report_errno(launch.report.get());
    }
    if (grandchild == 0) {
        become_program(launch);
    }
    ::_exit(0);
}

Result<Launch> prepare(const std::vector<std::string>& argv, const std::string& log_path) {
    if (argv.empty() || argv[0].find('/') == std::string::npos) {
        return Error{Code::invalid, "start a program: its path must hold a slash"};
    }
    Launch launch;
    for (const auto& argument : argv) {
        launch.argv.push_back(
            const_cast<char*>(argument.c_str()));  // as exec wants it; not changed
    }
    launch.argv.push_back(nullptr);
    constexpr int append = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW;
    TRY_ASSIGN(launch.log, above_stdio(UniqueFd(::open(log_path.c_str(), append, 0640)), log_path));
    TRY_ASSIGN(launch.null_in,
               above_stdio(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), "/dev/null"));
    rlimit limit{};
    launch.top_fd = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536
                        ? static_cast<int>(limit.rlim_cur)
                        : 65536;
    return launch;
}

}  // namespace

Status spawn_detached(const std::vector<std::string>& argv, const std::string& log_path) {
    TRY_ASSIGN(auto launch, prepare(argv, log_path));
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return os_error(errno, "make a pipe to start", argv[0]);
    }
    const UniqueFd result(ends[0]);
    TRY_ASSIGN(launch.report, above_stdio(UniqueFd(ends[1]), "a pipe"));
    const pid_t child = ::fork();
    if (child < 0) {
        return os_error(errno, "fork to start", argv[0]);
    }
    if (child == 0) {
        fork_again(launch);
    }
    launch.report.reset();
    retry_eintr([&] { return ::waitpid(child, nullptr, 0); });
    int err = 0;
    const auto n = retry_eintr([&] { return ::read(result.get(), &err, sizeof err); });
    if (n == sizeof err) {
        return os_error(err, "start", argv[0]);
    }
    return ok();
}

Result<Child> Child::start(const std::vector<std::string>& argv, Duration limit) {
    std::vector<char*> words;
    for (const auto& argument : argv) {
        words.push_back(const_cast<char*>(argument.c_str()));  // as exec wants it; not changed
    }
    words.push_back(nullptr);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return os_error(errno, "make a pipe to start", argv[0]);
    }
    UniqueFd output(ends[0]);
    const UniqueFd input(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, input.get(), 1);
    pid_t pid = 0;
    const int failed =
        ::posix_spawn(&pid, argv[0].c_str(), &actions, nullptr, words.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        return os_error(failed, "start", argv[0]);
    }
    return Child(pid, std::move(output), monotonic_now() + limit);
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      output_(std::move(other.output_)),
      deadline_(other.deadline_),
      said_(std::move(other.said_)) {}

Child::~Child() {
    if (pid_ != 0) {
        ::kill(pid_, SIGKILL);
        retry_eintr([&] { return ::waitpid(pid_, nullptr, 0); });
    }
}

// The pipe ends with the last process that holds it, so with the program.
std::optional<ChildEnd> Child::ended(Duration patience) {
    constexpr std::size_t most = 4096;
    const MonoTime until = std::min(deadline_, monotonic_now() + patience);
    bool open = true;
    while (open) {
        const auto ready = wait_fd(output_.get(), POLLIN, until);
        if (!ready || !*ready) {
            break;
        }
        std::array<char, 1024> part{};
        const auto n = retry_eintr([&] { return ::read(output_.get(), part.data(), part.size()); });
        open = n > 0;
        const auto got = n > 0 ? static_cast<std::size_t>(n) : 0;
        said_.append(part.data(), std::min(got, most - std::min(most, said_.size())));
    }
    const bool in_time = !open || monotonic_now() < deadline_;
    if (open && in_time) {
        return std::nullopt;
    }
    if (!in_time) {
        ::kill(pid_, SIGKILL);
    }
    int status = 0;
    retry_eintr([&] { return ::waitpid(pid_, &status, 0); });
    pid_ = 0;
    return ChildEnd{WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                    WIFSIGNALED(status) ? WTERMSIG(status) : 0, in_time, std::move(said_)};
}

void end_with_parent(seconds limit) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::alarm(static_cast<unsigned>(limit.count()));  // also when the parent has ended before
}

namespace {

// A signal handler gets no argument of ours.
const char* fault_words = nullptr;
int fault_status = 1;

void end_with_words(int) {
    (void)!::write(2, fault_words, std::strlen(fault_words));
    ::_exit(fault_status);
}

}  // namespace

void explain_faults(const char* words, int status) {
    fault_words = words;
    fault_status = status;
    struct sigaction action {};
    action.sa_handler = end_with_words;
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT}) {
        ::sigaction(signal, &action, nullptr);
    }
}

int replace_process(const std::string& path, int argc, char** argv) {
    std::vector<char*> arguments{const_cast<char*>(path.c_str())};  // as exec wants it; not changed
    arguments.insert(arguments.end(), argv, argv + argc);
    arguments.push_back(nullptr);
    std::fflush(nullptr);
    ::execv(path.c_str(), arguments.data());
    std::fprintf(stderr, "error: %s\n", os_error(errno, "start", path).message.c_str());
    return 1;
}

bool is_executable(const std::string& path) {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
}

Result<FileLock> lock_file(const std::string& path) {
    constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    UniqueFd fd(retry_eintr([&] { return ::open(path.c_str(), flags, 0660); }));
    if (!fd) {
        return os_error(errno, "open", path);
    }
    if (retry_eintr([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
        if (errno == EWOULDBLOCK) {
            return Error{Code::conflict, fmt::format("another process holds {}", path)};
        }
        return os_error(errno, "lock", path);
    }
    return FileLock(std::move(fd));
}

std::string self_exe_dir() {
    std::array<char, 4096> path{};
    const auto n = ::readlink("/proc/self/exe", path.data(), path.size());
    const std::string_view full(path.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    const auto slash = full.rfind('/');
    return slash == std::string_view::npos ? "" : std::string(full.substr(0, slash));
}

Status leave_root_for(const std::string& user) {
    if (::geteuid() != 0) {
        return ok();
    }
    errno = 0;
    const auto* entry = ::getpwnam(user.c_str());
    if (entry == nullptr) {
        return errno == 0 || errno == ENOENT ? ok() : os_error(errno, "look up user", user);
    }
    if (::initgroups(user.c_str(), entry->pw_gid) != 0 || ::setgid(entry->pw_gid) != 0 ||
        ::setuid(entry->pw_uid) != 0) {
        return os_error(errno, "become user", user);
    }
    return ok();
}

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

int process_id() { return ::getpid(); }

void set_file_creation_mask(unsigned mask) { ::umask(mask); }

void exit_now(int status) { ::_exit(status); }

}  // namespace reeve::runtime
