#include "exec/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <string_view>
#include <vector>

#include "exec/process_table.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr std::string_view default_path = "/usr/local/bin:/usr/bin:/bin";

/// The attempt's tag, then the plan's environment, of entries with the same name the last: an
/// environment with a name twice means different things to different programs.
std::vector<std::string> environment_of(const env::ExecPlan& plan) {
    const auto name_of = [](const std::string& entry) { return entry.substr(0, entry.find('=')); };
    std::map<std::string, std::size_t> last;
    for (std::size_t i = 0; i < plan.environment.size(); ++i) {
        last[name_of(plan.environment[i])] = i;
    }
    std::vector<std::string> out{std::string(attempt_tag) + plan.attempt.text()};
    for (std::size_t i = 0; i < plan.environment.size(); ++i) {
        const auto& entry = plan.environment[i];
        if (last[name_of(entry)] == i && !entry.starts_with(attempt_tag)) {
            out.push_back(entry);
        }
    }
    return out;
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

Status check_plan(const env::ExecPlan& plan) {
    if (plan.argv.empty() || plan.argv[0].empty()) {
        return Error{Code::invalid, "the command is empty"};
    }
    if (std::any_of(plan.argv.begin(), plan.argv.end(), has_nul) ||
        std::any_of(plan.environment.begin(), plan.environment.end(), has_nul) ||
        has_nul(plan.cwd)) {
        return Error{Code::invalid,
                     "the command, its environment or its directory holds a NUL byte"};
    }
    for (const auto& entry : plan.environment) {
        if (entry.find('=') == std::string::npos || entry.front() == '=') {
            return Error{Code::invalid, "'" + entry.substr(0, 60) + "' is not KEY=value"};
        }
    }
    return ok();
}

Status check_cwd(const std::string& cwd) {
    struct stat info {};
    if (::stat(cwd.c_str(), &info) != 0) {
        return system_error(errno, "working directory " + cwd);
    }
    if (!S_ISDIR(info.st_mode)) {
        return system_error(ENOTDIR, "working directory " + cwd);
    }
    if (::access(cwd.c_str(), X_OK) != 0) {
        return system_error(errno, "working directory " + cwd);
    }
    return ok();
}

bool executable(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
}

/// What to execute, seen from `cwd`: a name without a slash is looked up in the PATH of the plan.
Result<std::string> find_program(const std::string& name,
                                 const std::vector<std::string>& environment,
                                 const std::string& cwd) {
    if (name.find('/') != std::string::npos) {
        return name;
    }
    std::string_view path = default_path;
    for (const auto& entry : environment) {
        if (entry.starts_with("PATH=")) {
            path = std::string_view(entry).substr(5);
        }
    }
    const std::string searched(path);
    for (;;) {
        const auto end = std::min(path.find(':'), path.size());
        const auto part = end == 0 ? std::string(".") : std::string(path.substr(0, end));
        const auto candidate = part + "/" + name;
        if (executable(candidate.front() == '/' ? candidate : cwd + "/" + candidate)) {
            return candidate;
        }
        if (end == path.size()) {
            return Error{Code::not_found, name + ": not found in PATH (" + searched + ")"};
        }
        path.remove_prefix(end + 1);
    }
}

Result<Fd> open_stdin(const env::ExecPlan& plan) {
    if (!plan.stdin_text) {
        Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (!null) {
            return system_error(errno, "open /dev/null");
        }
        return null;
    }
    Fd memory(::memfd_create("reeve-stdin", MFD_CLOEXEC));
    std::string_view rest = *plan.stdin_text;
    while (memory && !rest.empty()) {
        const auto put = ::write(memory.get(), rest.data(), rest.size());
        if (put < 0 && errno != EINTR) {
            return system_error(errno, "standard input");
        }
        rest.remove_prefix(put > 0 ? static_cast<std::size_t>(put) : 0);
    }
    if (!memory || ::lseek(memory.get(), 0, SEEK_SET) != 0) {
        return system_error(errno, "standard input");
    }
    return memory;
}

struct Pipe {
    Fd read_end;
    Fd write_end;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return system_error(errno, "pipe");
    }
    Pipe made{Fd(ends[0]), Fd(ends[1])};
    // Only our end: the command expects a pipe that blocks.
    if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        return system_error(errno, "pipe");
    }
    return made;
}

/// The attributes and file actions of posix_spawn. These functions fail on lack of memory only.
class SpawnSetup {
public:
    SpawnSetup() {
        CHECK(::posix_spawnattr_init(&attributes_) == 0);
        CHECK(::posix_spawn_file_actions_init(&actions_) == 0);
        sigset_t none;
        sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::sigdelset(&all, SIGKILL);
        ::sigdelset(&all, SIGSTOP);
        constexpr int flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
        CHECK(::posix_spawnattr_setsigmask(&attributes_, &none) == 0);
        CHECK(::posix_spawnattr_setsigdefault(&attributes_, &all) == 0);
        CHECK(::posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)) == 0);
    }
    SpawnSetup(const SpawnSetup&) = delete;
    SpawnSetup& operator=(const SpawnSetup&) = delete;
    ~SpawnSetup() {
        ::posix_spawnattr_destroy(&attributes_);
        ::posix_spawn_file_actions_destroy(&actions_);
    }
    void streams(int in, int out, int err) {
        CHECK(::posix_spawn_file_actions_adddup2(&actions_, in, 0) == 0);
        CHECK(::posix_spawn_file_actions_adddup2(&actions_, out, 1) == 0);
        CHECK(::posix_spawn_file_actions_adddup2(&actions_, err, 2) == 0);
        CHECK(::posix_spawn_file_actions_addclosefrom_np(&actions_, 3) == 0);
    }
    void directory(const std::string& path) {
        CHECK(::posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()) == 0);
    }
    int spawn(pid_t& pid, const std::string& program, std::vector<char*>& argv,
              std::vector<char*>& environment) {
        return ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, argv.data(),
                             environment.data());
    }

private:
    posix_spawnattr_t attributes_{};
    posix_spawn_file_actions_t actions_{};
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (auto& text : texts) {
        out.push_back(text.data());
    }
    out.push_back(nullptr);
    return out;
}

std::string hint_of(int err) {
    switch (err) {
        case ENOEXEC: return " (a script needs a first line like #!/bin/sh)";
        case E2BIG: return " (pass large input in a file)";
        default: return {};
    }
}

}  // namespace

Status win_local_claim(const std::string& directory) {
    const auto ready = directory + "/ready";
    const auto started = directory + "/started";
    // NOREPLACE: where `started` stands already something has run, whatever `ready` says.
    int failed = ::renameat2(AT_FDCWD, ready.c_str(), AT_FDCWD, started.c_str(), RENAME_NOREPLACE);
    if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {  // a file system without it
        if (::access(started.c_str(), F_OK) == 0) {
            return Error{Code::conflict, "the attempt has been started before"};
        }
        failed = ::rename(ready.c_str(), started.c_str());
    }
    if (failed == 0) {
        return ok();
    }
    const int err = errno;
    if (err == EEXIST || (err == ENOENT && ::access(started.c_str(), F_OK) == 0)) {
        return Error{Code::conflict, "the attempt has been started before"};
    }
    if (err == ENOENT) {
        return Error{Code::conflict, "there is no " + ready + ": the attempt was given up"};
    }
    return system_error(err, "rename " + ready);
}

Result<Launched> launch(const env::ExecPlan& plan) {
    TRY(check_plan(plan));
    const auto& cwd = plan.cwd.empty() ? plan.directory : plan.cwd;
    TRY(check_cwd(cwd));
    auto environment = environment_of(plan);
    auto argv = plan.argv;
    TRY_ASSIGN(const std::string program, find_program(argv[0], environment, cwd));
    TRY_ASSIGN(const Fd in, open_stdin(plan));
    TRY_ASSIGN(Pipe out, make_pipe());
    TRY_ASSIGN(Pipe err, make_pipe());
    SpawnSetup setup;
    setup.streams(in.get(), out.write_end.get(), err.write_end.get());
    setup.directory(cwd);
    auto argv_pointers = pointers(argv);
    auto environment_pointers = pointers(environment);
    Launched launched;
    if (const int failed = setup.spawn(launched.pid, program, argv_pointers, environment_pointers);
        failed != 0) {
        return system_error(failed, "execute " + program).with("not started" + hint_of(failed));
    }
    launched.pidfd = open_process(launched.pid);
    launched.out = std::move(out.read_end);
    launched.err = std::move(err.read_end);
    return launched;
}

}  // namespace reeve::exec
