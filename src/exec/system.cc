#include "exec/system.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"

namespace reeve::exec {

MonoTime monotonic_now() {
    timespec now{};
    CHECK(::clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return MonoTime{now.tv_sec * 1'000'000'000 + now.tv_nsec};
}

std::string errno_text(int err) {
    const char* text = ::strerrordesc_np(err);
    return text != nullptr ? text : "error " + std::to_string(err);
}

Error system_error(int err, std::string_view doing) {
    const auto code = err == ENOENT || err == ENOTDIR                  ? Code::not_found
                      : err == ENOSPC || err == EDQUOT || err == EFBIG ? Code::full
                      : err == EEXIST || err == EADDRINUSE             ? Code::conflict
                                                                       : Code::io;
    return Error{code, std::string(doing) + ": " + errno_text(err)};
}

void say(std::string_view line) {
    timespec now{};
    tm parts{};
    CHECK(::clock_gettime(CLOCK_REALTIME, &now) == 0);
    ::gmtime_r(&now.tv_sec, &parts);
    std::array<char, 32> stamp{};
    const auto used = ::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%SZ ", &parts);
    std::string text(stamp.data(), used);
    text.append("reeve-exec: ").append(line).append("\n");
    // One write a line; a full disk or a closed descriptor must not stop the supervisor.
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) {
        return;
    }
}

Result<std::string> random_name() {
    std::array<std::uint8_t, 8> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        return system_error(errno, "getrandom");
    }
    return to_hex(bytes);
}

}  // namespace reeve::exec
