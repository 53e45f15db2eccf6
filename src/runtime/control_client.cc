#include "runtime/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <array>
#include <limits>

#include "runtime/os.h"
#include "runtime/unix_address.h"

namespace reeve::runtime {

namespace {

Error gone(const std::string& path) {
    return Error{
        Code::io,
        fmt::format("the daemon at {} hung up before it answered: the request may have been done",
                    path)};
}

Error late(const std::string& path) {
    return Error{Code::timeout, fmt::format("the daemon at {} did not answer in time", path)};
}

Result<UniqueFd> dial(const std::string& path, MonoTime deadline) {
    TRY_ASSIGN(const auto address, unix_address(path));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return os_error(errno, "make a socket for", path);
    }
    const auto connect = [&] {
        return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    };
    while (retry_eintr(connect) != 0) {
        const int err = errno;
        if (err == ENOENT || err == ECONNREFUSED || err == ENOTDIR) {
            return Error{Code::unavailable, fmt::format("no daemon listens on {}", path)};
        }
        if (err != EAGAIN) {
            return os_error(err, "connect to", path);
        }
        if (monotonic_now() >= deadline) {
            return late(path);
        }
        // The line of callers is full; a Unix socket offers nothing to wait on.
        const timespec pause{.tv_sec = 0, .tv_nsec = 5'000'000};
        ::nanosleep(&pause, nullptr);
    }
    return fd;
}

/// False when the peer hung up before it took everything: it may have left an answer that says why.
Result<bool> send_all(int fd, ByteView bytes, MonoTime deadline, const std::string& path) {
    while (!bytes.empty()) {
        const auto n =
            retry_eintr([&] { return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); });
        if (n >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            return false;
        }
        if (errno != EAGAIN) {
            return os_error(errno, "send to", path);
        }
        TRY_ASSIGN(const bool ready, wait_fd(fd, POLLOUT, deadline));
        if (!ready) {
            return late(path);
        }
    }
    return true;
}

Status receive_all(int fd, std::span<std::uint8_t> out, MonoTime deadline,
                   const std::string& path) {
    while (!out.empty()) {
        const auto n = retry_eintr([&] { return ::recv(fd, out.data(), out.size(), 0); });
        if (n > 0) {
            out = out.subspan(static_cast<std::size_t>(n));
            continue;
        }
        if (n == 0 || errno == ECONNRESET) {
            return gone(path);
        }
        if (errno != EAGAIN) {
            return os_error(errno, "receive from", path);
        }
        TRY_ASSIGN(const bool ready, wait_fd(fd, POLLIN, deadline));
        if (!ready) {
            return late(path);
        }
    }
    return ok();
}

}  // namespace

Result<Bytes> control_call(const std::string& socket_path, ByteView request, Duration timeout) {
    const auto deadline = monotonic_now() + timeout;
    if (request.size() > std::numeric_limits<std::uint32_t>::max()) {
        return Error{Code::invalid, "the request is too long to be sent"};
    }
    TRY_ASSIGN(const auto fd, dial(socket_path, deadline));
    ByteWriter frame;
    frame.bytes(request);
    const auto sent = send_all(fd.get(), frame.view(), deadline, socket_path);
    if (!sent) {
        return sent.error();
    }
    std::array<std::uint8_t, 4> header{};
    TRY(receive_all(fd.get(), header, deadline, socket_path));
    const auto size = load_le<std::uint32_t>(header.data());
    if (size > max_control_reply_bytes) {
        return Error{Code::corrupt, fmt::format("the daemon at {} announced an answer of {} bytes, "
                                                "more than {}",
                                                socket_path, size, max_control_reply_bytes)};
    }
    Bytes body(size);
    TRY(receive_all(fd.get(), body, deadline, socket_path));
    return body;
}

}  // namespace reeve::runtime
