#include "exec/process_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <set>

#include "exec/fd.h"

namespace reeve::exec {
namespace {

constexpr std::size_t read_limit_bytes = 8 * 1024 * 1024;  // more than any argv and environment

std::optional<std::string> read_whole(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
        return std::nullopt;
    }
    std::string text;
    char buffer[16 * 1024];
    while (text.size() < read_limit_bytes) {
        const auto got = ::read(file.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return std::nullopt;
        }
        if (got == 0) {
            break;
        }
        text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
}

std::optional<pid_t> parse_pid(std::string_view text) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (error != std::errc() || end != text.data() + text.size() || pid <= 0) {
        return std::nullopt;
    }
    return pid;
}

/// The fields of /proc/<pid>/stat after the name, which may hold blanks and parentheses.
std::optional<std::string> stat_of(pid_t pid) {
    auto stat = read_whole("/proc/" + std::to_string(pid) + "/stat");
    const auto after = stat ? stat->rfind(')') : std::string::npos;
    if (after == std::string::npos || after + 2 >= stat->size()) {
        return std::nullopt;
    }
    return stat->substr(after + 2);  // "S 1234 ...": state, parent
}

std::optional<std::string> tag_of(pid_t pid) {
    const auto environment = read_whole("/proc/" + std::to_string(pid) + "/environ");
    if (!environment) {
        return std::nullopt;
    }
    std::string_view rest = *environment;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('\0'), rest.size());
        const auto entry = rest.substr(0, end);
        if (entry.starts_with(attempt_tag)) {
            return std::string(entry.substr(attempt_tag.size()));
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return std::nullopt;
}

bool child_of(pid_t pid, pid_t parent) {
    const auto stat = stat_of(pid);
    if (!stat) {
        return false;
    }
    const std::string_view fields = std::string_view(*stat).substr(2);
    return parse_pid(fields.substr(0, fields.find(' '))) == parent;
}

std::int64_t now_ns() {
    timespec now{};
    CHECK(::clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

/// Kills `pid` if it carries `tag`. The descriptor is opened before the look: should the number be
/// used again in between, the signal goes nowhere.
bool kill_if_tagged(pid_t pid, std::string_view tag) {
    const Fd process = open_process(pid);
    if (!process || tag_of(pid) != tag) {
        return false;
    }
    return ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) == 0;
}

}  // namespace

// By number: the functions of glibc 2.36 are not declared for C++.
Fd open_process(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

std::optional<ProcessLook> look_at(pid_t pid) {
    const auto stat = stat_of(pid);
    if (!stat) {
        return std::nullopt;
    }
    ProcessLook look;
    look.zombie = stat->front() == 'Z' || stat->front() == 'X';
    if (!look.zombie) {
        look.tag = tag_of(pid);
    }
    return look;
}

std::vector<pid_t> own_children() {
    const auto self = std::to_string(::getpid());
    const auto listed = read_whole("/proc/self/task/" + self + "/children");
    std::vector<pid_t> children;
    if (!listed) {  // a kernel without CONFIG_PROC_CHILDREN
        for (const pid_t pid : all_processes()) {
            if (child_of(pid, ::getpid())) {
                children.push_back(pid);
            }
        }
        return children;
    }
    std::string_view rest = *listed;
    while (!rest.empty()) {
        const auto end = std::min(rest.find(' '), rest.size());
        if (const auto pid = parse_pid(rest.substr(0, end))) {
            children.push_back(*pid);
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return children;
}

std::vector<pid_t> all_processes() {
    std::vector<pid_t> pids;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
    if (!directory) {
        return pids;
    }
    while (const dirent* entry = ::readdir(directory.get())) {
        const auto pid = parse_pid(entry->d_name);
        if (pid && *pid != ::getpid()) {
            pids.push_back(*pid);
        }
    }
    return pids;
}

Result<int> kill_tagged(std::string_view tag, Duration limit) {
    const std::int64_t end = now_ns() + limit.count();
    std::set<pid_t> killed;
    int quiet_looks = 0;
    for (;;) {
        bool found = false;
        for (const pid_t pid : all_processes()) {
            if (kill_if_tagged(pid, tag)) {
                found = true;
                killed.insert(pid);
            }
        }
        quiet_looks = found ? 0 : quiet_looks + 1;
        if (quiet_looks == 2) {
            return static_cast<int>(killed.size());
        }
        if (now_ns() >= end) {
            return Error{Code::timeout, "processes of " + std::string(tag) +
                                            " are still there after SIGKILL (in the kernel, or "
                                            "started faster than they are killed)"};
        }
        ::poll(nullptr, 0, 5);  // a killed process needs a moment to go
    }
}

}  // namespace reeve::exec
