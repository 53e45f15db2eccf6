#pragma once

// The daemon's door for people: a Unix stream socket on which each request is one frame and its
// answer another, any number in sequence on one connection.
//
//     frame := u32 little endian length, then that many bytes
//
// One thread of its own serves all connections. Everything is bounded: what does not fit is
// answered by the server itself with {"schema":"reeve.reply/v1","ok":false,"error":{...}}, so that
// a client always learns why. Two daemons that open one path at the same instant are told apart by
// the lock on their state directory, not here.

#include <chrono>
#include <memory>
#include <string>

#include "env/sockets.h"

namespace reeve::runtime {

struct ControlBounds {
    std::size_t connections = 64;  // beyond: answered "busy" and closed
    std::size_t in_hand = 256;     // requests that are not answered; beyond: answered "busy"
    std::size_t in_hand_bytes = 64u * 1024 * 1024;  // of them, and of those that come in besides
    std::chrono::milliseconds idle{60'000};  // for a request to come in, or an answer to leave
};

class UnixControlServer final : public env::ControlServer {
public:
    static constexpr std::size_t default_request_bytes = 8u * 1024 * 1024;

    /// Listens on `path`, whose permission bits become `mode`. A socket that nobody listens on is
    /// replaced. Code::conflict when another daemon listens or the path is no socket; invalid when
    /// the path does not fit in an address.
    static Result<std::unique_ptr<UnixControlServer>> open(
        const std::string& path, std::size_t max_request_bytes = default_request_bytes,
        unsigned mode = 0660, const ControlBounds& bounds = {});
    /// Ends the thread, hangs up on everybody, removes the socket.
    ~UnixControlServer() override;

    std::optional<env::ControlRequest> next(MonoTime deadline) override;
    void reply(std::uint64_t id, ByteView body) override;

private:
    struct Impl;
    class Session;
    explicit UnixControlServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace reeve::runtime
