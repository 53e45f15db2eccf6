#pragma once

#include <fmt/format.h>
#include <sys/un.h>

#include <string>

#include "base/result.h"

namespace reeve::runtime {

/// The address of a Unix socket, or Code::invalid for a path that does not fit in one.
inline Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path ||
        path.find('\0') != std::string::npos) {
        return Error{
            Code::invalid,
            fmt::format("socket path \"{}\" has {} bytes, allowed are 1 to {}; fix: choose a "
                        "shorter state directory or socket path",
                        path, path.size(), sizeof address.sun_path - 1)};
    }
    path.copy(address.sun_path, path.size());
    return address;
}

}  // namespace reeve::runtime
