#pragma once

// The two small doors of a daemon: requests of people over a local socket, and the doorbell between
// nodes. Both carry opaque bytes; what they mean is decided above.

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace reeve::env {

struct ControlRequest {
    std::uint64_t id = 0;   // for reply()
    std::uint32_t uid = 0;  // of the peer, from the kernel
    std::uint32_t gid = 0;
    std::int32_t pid = 0;
    Bytes body;  // at most the server's limit; a longer one was refused by the server
};

/// A request is one length-prefixed message on a Unix stream socket, its answer another.
class ControlServer {
public:
    virtual ~ControlServer() = default;
    virtual std::optional<ControlRequest> next(MonoTime deadline) = 0;
    /// Never blocks; a peer that has gone is not an error. Thread-safe.
    virtual void reply(std::uint64_t id, ByteView body) = 0;
};

/// Unreliable, unauthenticated, at most 512 bytes: "look now", nothing else.
class Doorbell {
public:
    virtual ~Doorbell() = default;
    virtual void ring(ByteView message) = 0;  // to all peers; never blocks; thread-safe
    virtual std::optional<Bytes> next(MonoTime deadline) = 0;
};

}  // namespace reeve::env
