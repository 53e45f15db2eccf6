#include "runtime/os.h"

#include <fmt/format.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace reeve::runtime {

namespace {

Code code_of(int err) {
    switch (err) {
        case ENOENT:
        case ENOTDIR: return Code::not_found;
        case EEXIST:
        case ENOTEMPTY:
        case EADDRINUSE: return Code::conflict;
        case ENOSPC:
        case EDQUOT:
        case EFBIG: return Code::full;
        case ELOOP:
        case EISDIR:
        case ENXIO:
        case EINVAL:
        case ENAMETOOLONG: return Code::invalid;
        default: return Code::io;
    }
}

std::string_view hint_of(int err) {
    switch (err) {
        case EACCES:
        case EPERM: return "; check its owner and mode and those of its directories";
        case EROFS: return "; the file system is mounted read-only";
        case ELOOP: return "; it is a symbolic link, and none is followed here";
        case ESTALE: return "; the network file system has lost the file or its server";
        default: return "";
    }
}

}  // namespace

void UniqueFd::reset() {
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));  // Linux releases the number even when it reports EINTR
    }
}

Error os_error(int err, std::string_view doing, std::string_view path) {
    const char* text = strerrordesc_np(err);
    return Error{code_of(err),
                 fmt::format("{} {}: {} (errno {}){}", doing, path,
                             text != nullptr ? text : "unknown error", err, hint_of(err))};
}

MonoTime monotonic_now() {
    timespec now{};
    CHECK(::clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return MonoTime{now.tv_sec * 1'000'000'000 + now.tv_nsec};
}

Result<bool> wait_fd(int fd, short events, MonoTime deadline) {
    for (;;) {
        pollfd entry{.fd = fd, .events = events, .revents = 0};
        timespec left{};
        if (deadline != MonoTime::never()) {
            const auto ns = std::max<std::int64_t>(0, (deadline - monotonic_now()).count());
            left = timespec{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
        }
        const int ready =
            ::ppoll(&entry, 1, deadline == MonoTime::never() ? nullptr : &left, nullptr);
        if (ready > 0) {
            return true;  // errors and hang-ups too: the following read or write tells them
        }
        if (ready == 0) {
            return false;
        }
        if (errno != EINTR) {
            return os_error(errno, "wait for", "a descriptor");
        }
    }
}

}  // namespace reeve::runtime
