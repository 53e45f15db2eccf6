#pragma once

// What every file of this module needs from the operating system: owned descriptors, errno as an
// Error, and waiting against the monotonic clock. For use inside `runtime` only.

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/time.h"

namespace reeve::runtime {

/// Owns one descriptor; closing it never fails visibly.
class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~UniqueFd() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset();

private:
    int fd_ = -1;
};

/// Repeats a call that a signal interrupted.
template <typename Call>
auto retry_eintr(Call call) {
    for (;;) {
        const auto result = call();
        if (result != -1 || errno != EINTR) {
            return result;
        }
    }
}

/// "`doing` `path`: text of `err`", with the code that tells the caller how to react.
Error os_error(int err, std::string_view doing, std::string_view path);

MonoTime monotonic_now();

/// Waits until `fd` is ready for `events` (of poll); false at the deadline.
Result<bool> wait_fd(int fd, short events, MonoTime deadline);

/// condition_variable::wait_until for our time, which is CLOCK_MONOTONIC, as steady_clock is.
template <typename Predicate>
bool wait_mono(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
               MonoTime deadline, Predicate ready) {
    if (deadline == MonoTime::never()) {
        condition.wait(lock, ready);
        return true;
    }
    const auto at = std::chrono::steady_clock::time_point(
        std::chrono::nanoseconds(deadline.ns > 0 ? deadline.ns : 0));
    return condition.wait_until(lock, at, ready);
}

}  // namespace reeve::runtime
