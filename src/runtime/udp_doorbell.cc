#include "runtime/udp_doorbell.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <map>
#include <utility>

#include "runtime/os.h"

namespace reeve::runtime {

namespace {

constexpr std::size_t max_senders = 1024;

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sa_family_t family() const { return storage.ss_family; }
};

using SenderKey = std::array<std::uint8_t, 16>;

/// The host part only: a sender cannot have a second share by a second port.
SenderKey key_of(const Address& address) {
    SenderKey key{};
    if (address.family() == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address.storage, sizeof in);
        std::memcpy(key.data(), &in.sin_addr, sizeof in.sin_addr);
    } else if (address.family() == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &address.storage, sizeof in);
        std::memcpy(key.data(), &in.sin6_addr, sizeof in.sin6_addr);
    }
    return key;
}

Result<Address> parse_address(const std::string& text) {
    const Error bad{Code::invalid,
                    fmt::format("address \"{}\" is not HOST:PORT with a numeric IPv4 address or "
                                "localhost, nor [IPV6]:PORT",
                                text)};
    const auto colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) {
        return bad;
    }
    // getaddrinfo would take no port as 0, and 70000 as 4464.
    const std::string port = text.substr(colon + 1);
    std::uint16_t number = 0;
    const auto* end = port.data() + port.size();
    if (const auto [at, err] = std::from_chars(port.data(), end, number);
        err != std::errc() || at != end) {
        return bad;
    }
    auto host = text.substr(0, colon);
    if (host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos) {
        return bad;
    } else if (host == "localhost") {
        host = "127.0.0.1";
    }
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) {
        return bad;
    }
    Address out;
    std::memcpy(&out.storage, found->ai_addr, found->ai_addrlen);
    out.size = found->ai_addrlen;
    ::freeaddrinfo(found);
    return out;
}

/// An IPv4 address as an IPv6 socket wants it.
Address mapped(const Address& address) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    sockaddr_in6 out{};
    out.sin6_family = AF_INET6;
    out.sin6_port = in.sin_port;
    out.sin6_addr.s6_addr[10] = out.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(&out.sin6_addr.s6_addr[12], &in.sin_addr, sizeof in.sin_addr);
    Address result;
    std::memcpy(&result.storage, &out, sizeof out);
    result.size = sizeof out;
    return result;
}

Result<std::vector<Address>> parse_peers(const std::vector<std::string>& peers,
                                         sa_family_t family) {
    std::vector<Address> out;
    for (const auto& text : peers) {
        TRY_ASSIGN(auto address, parse_address(text));
        if (family == AF_INET && address.family() != AF_INET) {
            return Error{Code::invalid, fmt::format("doorbell peer {} is IPv6, but the doorbell is "
                                                    "bound to IPv4; fix: bind to [::]:PORT",
                                                    text)};
        }
        out.push_back(family == AF_INET6 && address.family() == AF_INET ? mapped(address)
                                                                        : address);
    }
    return out;
}

/// A token bucket for each sender, of one second's worth, kept as the time when it is full again.
/// The last message beyond it is held until there is a token: the end of a burst is always heard.
class RateLimit {
public:
    enum class Verdict { admitted, held, replaced_one, dropped };

    Verdict offer(const SenderKey& sender, const Bytes& message, MonoTime now) {
        if (senders_.size() >= max_senders && !senders_.contains(sender)) {
            std::erase_if(senders_, [&](const auto& entry) {
                return entry.second.full_again <= now && !entry.second.held;
            });
            if (senders_.size() >= max_senders) {
                return Verdict::dropped;  // so many senders at once are a flood of forged ones
            }
        }
        auto& one = senders_[sender];
        if (!one.held && take(one, now)) {
            return Verdict::admitted;
        }
        const bool replaced = one.held.has_value();
        one.held = message;
        return replaced ? Verdict::replaced_one : Verdict::held;
    }

    /// A held message whose time has come.
    std::optional<Bytes> due(MonoTime now) {
        for (auto& [key, one] : senders_) {
            if (one.held && take(one, now)) {
                return std::exchange(one.held, std::nullopt);
            }
        }
        return std::nullopt;
    }

    /// When due() will have one.
    MonoTime next_due() const {
        MonoTime least = MonoTime::never();
        for (const auto& [key, one] : senders_) {
            least = one.held ? std::min(least, one.full_again + interval - seconds(1)) : least;
        }
        return least;
    }

private:
    struct Sender {
        MonoTime full_again;
        std::optional<Bytes> held;
    };
    static constexpr Duration interval{1'000'000'000 / UdpDoorbell::messages_per_second};

    static bool take(Sender& one, MonoTime now) {
        const auto after = std::max(one.full_again, now) + interval;
        if (after - now > seconds(1)) {
            return false;
        }
        one.full_again = after;
        return true;
    }

    std::map<SenderKey, Sender> senders_;
};

Result<UniqueFd> bound_socket(const Address& address, const std::string& text) {
    UniqueFd fd(::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return os_error(errno, "make a socket for", text);
    }
    const int off = 0;
    if (address.family() == AF_INET6 &&
        ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) {
        return os_error(errno, "admit IPv4 at", text);
    }
    // An address that the machine does not have yet: at boot, with its network away, the daemon
    // starts all the same, and the bell is heard when the address comes. A kernel that refuses is
    // no reason not to try.
    const int on = 1;
    const bool v6 = address.family() == AF_INET6;
    static_cast<void>(::setsockopt(fd.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                                   v6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof on));
    if (::bind(fd.get(), address.get(), address.size) != 0) {
        return os_error(errno, "bind the doorbell to", text);
    }
    return fd;
}

}  // namespace

struct UdpDoorbell::Impl {
    UniqueFd fd;
    std::uint16_t port = 0;
    std::vector<Address> peers;
    RateLimit limit;  // of the task that calls next()
    std::atomic<std::uint64_t> dropped{0};

    /// One datagram, when its sender may be heard now.
    std::optional<Bytes> receive(MonoTime now) {
        Bytes message(max_message_bytes);
        Address from;
        from.size = sizeof from.storage;
        auto* raw = reinterpret_cast<sockaddr*>(&from.storage);
        const auto n =
            ::recvfrom(fd.get(), message.data(), message.size(), MSG_DONTWAIT, raw, &from.size);
        if (n < 0) {
            return std::nullopt;
        }
        message.resize(static_cast<std::size_t>(n));
        const auto verdict = limit.offer(key_of(from), message, now);
        if (verdict == RateLimit::Verdict::admitted) {
            return message;
        }
        if (verdict != RateLimit::Verdict::held) {
            dropped.fetch_add(1, std::memory_order_relaxed);
        }
        return std::nullopt;
    }
};

UdpDoorbell::UdpDoorbell(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UdpDoorbell::~UdpDoorbell() = default;

Result<std::unique_ptr<UdpDoorbell>> UdpDoorbell::open(const std::string& bind_address,
                                                       const std::vector<std::string>& peers) {
    TRY_ASSIGN(const auto address, parse_address(bind_address));
    auto impl = std::make_unique<Impl>();
    TRY_ASSIGN(impl->peers, parse_peers(peers, address.family()));
    TRY_ASSIGN(impl->fd, bound_socket(address, bind_address));
    Address bound;
    bound.size = sizeof bound.storage;
    auto* raw = reinterpret_cast<sockaddr*>(&bound.storage);
    if (::getsockname(impl->fd.get(), raw, &bound.size) != 0) {
        return os_error(errno, "look up the port of", bind_address);
    }
    // The port lies at one place in both families.
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    in_port_t port = 0;
    std::memcpy(&port, reinterpret_cast<const char*>(raw) + offsetof(sockaddr_in, sin_port),
                sizeof port);
    impl->port = ntohs(port);
    return std::unique_ptr<UdpDoorbell>(new UdpDoorbell(std::move(impl)));
}

Status UdpDoorbell::check_peer(const std::string& peer) {
    TRY_ASSIGN(const auto address, parse_address(peer));
    const UniqueFd fd(::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd || ::connect(fd.get(), address.get(), address.size) != 0) {
        return os_error(errno, "find a way to", peer);
    }
    return ok();
}

void UdpDoorbell::ring(ByteView message) {
    CHECK(message.size() <= max_message_bytes);
    for (const auto& peer : impl_->peers) {
        // Whether it arrives is nobody's business: the same news is on the share.
        (void)::sendto(impl_->fd.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                       peer.get(), peer.size);
    }
}

std::optional<Bytes> UdpDoorbell::next(MonoTime deadline) {
    for (;;) {
        if (auto held = impl_->limit.due(monotonic_now())) {
            return held;
        }
        const auto until = std::min(deadline, impl_->limit.next_due());
        const auto ready = wait_fd(impl_->fd.get(), POLLIN, until);
        const auto now = monotonic_now();
        if (ready && *ready) {
            if (auto message = impl_->receive(now)) {
                return message;
            }
        }
        if (!ready || now >= deadline) {
            return std::nullopt;  // a flood must not keep us beyond the deadline
        }
    }
}

std::uint16_t UdpDoorbell::port() const { return impl_->port; }

std::uint64_t UdpDoorbell::dropped() const {
    return impl_->dropped.load(std::memory_order_relaxed);
}

}  // namespace reeve::runtime
