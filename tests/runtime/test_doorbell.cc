#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "runtime/os.h"
#include "runtime/udp_doorbell.h"
#include "support.h"

namespace reeve::runtime {
namespace {

std::unique_ptr<UdpDoorbell> bell(const std::string& bind,
                                  const std::vector<std::string>& peers = {}) {
    auto made = UdpDoorbell::open(bind, peers);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
}

std::string at(const UdpDoorbell& to) { return "localhost:" + std::to_string(to.port()); }

TEST(Doorbell, RingsAllItsPeers) {
    const auto a = bell("127.0.0.1:0");
    const auto b = bell("localhost:0");
    const auto ringer = bell("127.0.0.1:0", {at(*a), at(*b), "127.0.0.1:9"});
    ringer->ring(as_bytes("look"));
    for (const auto* each : {a.get(), b.get()}) {
        const auto message = const_cast<UdpDoorbell*>(each)->next(in(seconds(20)));
        ASSERT_TRUE(message);
        EXPECT_EQ(as_text(*message), "look");
    }
    const auto deadline = in(milliseconds(20));
    EXPECT_FALSE(a->next(deadline));
    EXPECT_GE(PosixClock().mono_now(), deadline);
}

TEST(Doorbell, ADualStackBellHearsIPv4) {
    const auto open = UdpDoorbell::open("[::]:0", {});
    if (!open) {
        GTEST_SKIP() << "no IPv6 here: " << open.error().message;
    }
    const auto ringer = bell("127.0.0.1:0", {at(**open)});
    ringer->ring(as_bytes("x"));
    EXPECT_TRUE((*open)->next(in(seconds(20))));
    const auto a = bell("127.0.0.1:0");
    bell("[::]:0", {at(*a)})->ring(as_bytes("y"));
    EXPECT_TRUE(a->next(in(seconds(20))));
}

TEST(Doorbell, AnAddressThatIsNotThereYetIsNoError) {
    const auto early = bell("192.0.2.1:0");  // of no machine: RFC 5737
    EXPECT_NE(early->port(), 0);
    early->ring(as_bytes("x"));
    EXPECT_FALSE(early->next(in(milliseconds(5))));
}

TEST(Doorbell, AFloodIsDroppedAndCounted) {
    const auto a = bell("127.0.0.1:0");
    const auto ringer = bell("127.0.0.1:0", {at(*a)});
    for (int i = 0; i < 100; ++i) {
        ringer->ring(as_bytes("x"));
    }
    std::uint64_t heard = 0;
    while (heard + a->dropped() < 100 && a->next(in(milliseconds(200)))) {
        ++heard;
    }
    EXPECT_EQ(heard + a->dropped(), 100u);
    EXPECT_GE(heard, 20u);
    EXPECT_LE(heard, 30u);  // the bucket, and what came back to it meanwhile
    EXPECT_TRUE(eventually([&] {
        ringer->ring(as_bytes("later"));
        return a->next(in(milliseconds(50))).has_value();
    }));
}

TEST(Doorbell, TheEndOfABurstIsHeard) {
    const auto a = bell("127.0.0.1:0");
    const auto ringer = bell("127.0.0.1:0", {at(*a)});
    for (int i = 0; i < 60; ++i) {
        ringer->ring(as_bytes(std::to_string(i)));
    }
    std::string last;
    while (auto message = a->next(in(seconds(1)))) {
        last = as_text(*message);
    }
    EXPECT_EQ(last, "59");
}

TEST(Doorbell, LongMessagesAreCut) {
    const auto a = bell("127.0.0.1:0");
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(a->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM, 0));
    const Bytes message(2000, 'x');
    ::sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&to),
             sizeof to);
    EXPECT_EQ(a->next(in(seconds(20)))->size(), UdpDoorbell::max_message_bytes);
}

TEST(Doorbell, BadAddresses) {
    for (const auto* text : {"", "here", ":1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "example.org:1",
                             "::1:5", "[::1]5", "1.2.3.4:70000"}) {
        const auto made = UdpDoorbell::open(text, {});
        ASSERT_FALSE(made) << text;
        EXPECT_EQ(made.error().code, Code::invalid) << text << made.error().message;
    }
    EXPECT_EQ(UdpDoorbell::open("127.0.0.1:0", {"nonsense"}).error().code, Code::invalid);
    EXPECT_EQ(UdpDoorbell::open("127.0.0.1:0", {"[::1]:5"}).error().code, Code::invalid);
    const auto a = bell("127.0.0.1:0");
    EXPECT_EQ(UdpDoorbell::open("127.0.0.1:" + std::to_string(a->port()), {}).error().code,
              Code::conflict);
}

}  // namespace
}  // namespace reeve::runtime
