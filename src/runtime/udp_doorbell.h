#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "env/sockets.h"

namespace reeve::runtime {

/// The doorbell as UDP datagrams. Addresses are "HOST:PORT" with a numeric IPv4 address or
/// localhost, or "[IPV6]:PORT". Of each sender's address 20 messages a second are heeded; of the
/// rest the last is told when there is room again, so that the end of a burst is always heard, and
/// the others are dropped: a flood costs this task time, never more. Messages over 512 bytes are
/// cut.
class UdpDoorbell final : public env::Doorbell {
public:
    static constexpr std::size_t max_message_bytes = 512;
    static constexpr std::int64_t messages_per_second = 20;

    /// Code::invalid for an address that cannot be understood, conflict when the port is taken.
    static Result<std::unique_ptr<UdpDoorbell>> open(const std::string& bind_address,
                                                     const std::vector<std::string>& peers);
    /// Whether datagrams could leave this machine for `peer`; sends none. Code::invalid as above,
    /// io when there is no route.
    static Status check_peer(const std::string& peer);
    ~UdpDoorbell() override;

    void ring(ByteView message) override;
    std::optional<Bytes> next(MonoTime deadline) override;

    /// The port we are bound to: for a bind address with port 0.
    std::uint16_t port() const;
    /// How many messages were dropped for their rate so far. Thread-safe.
    std::uint64_t dropped() const;

private:
    struct Impl;
    explicit UdpDoorbell(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace reeve::runtime
