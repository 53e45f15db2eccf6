#include "exec/protocol.h"

#include <gtest/gtest.h>

namespace reeve::exec {
namespace {

AttemptId some_attempt() {
    return AttemptId{JobId::make(1234567, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0}), AttemptNo(3)};
}

env::ExecPlan some_plan() {
    env::ExecPlan plan;
    plan.attempt = some_attempt();
    plan.argv = {"echo", "", "two words"};
    plan.environment = {"A=1", "B="};
    plan.cwd = "/tmp";
    plan.stdin_text = std::string("a\0b", 3);
    plan.timeout_ms = 5;
    plan.grace_ms = 6;
    plan.inline_limit_bytes = 7;
    plan.output_cap_bytes = 8;
    plan.directory = "/state/run/x";
    return plan;
}

env::ExecOutcome some_outcome() {
    env::ExecOutcome outcome;
    outcome.number = 42;
    outcome.attempt = some_attempt();
    outcome.end = env::ExecEnd::timed_out;
    outcome.exit = -1;
    outcome.signal = 15;
    outcome.wall_ms = 1;
    outcome.cpu_user_ms = 2;
    outcome.cpu_system_ms = 3;
    outcome.max_rss_kib = 4;
    outcome.out = {{1, 2, 3}, 3, 3, ""};
    outcome.err = {{}, 100, 50, "/x/err"};
    outcome.error = "why";
    return outcome;
}

TEST(ExecProtocol, APlanComesBackAsItWas) {
    const auto packet = encode_start(some_plan());
    const auto decoded = decode_client(packet);
    ASSERT_TRUE(decoded);
    const auto& start = std::get<Start>(*decoded);
    EXPECT_TRUE(start.impossible.empty());
    EXPECT_EQ(start.plan.argv, some_plan().argv);
    EXPECT_EQ(start.plan.environment, some_plan().environment);
    EXPECT_EQ(start.plan.stdin_text, some_plan().stdin_text);
    EXPECT_EQ(start.plan.directory, some_plan().directory);
    EXPECT_EQ(encode(*decoded), packet);
}

TEST(ExecProtocol, EveryMessageComesBackAsItWas) {
    const ClientMessage from_client[] = {ClientHello{protocol_version, 9}, Stop{some_attempt(), 11},
                                         Ack{12}};
    for (const auto& message : from_client) {
        const auto packet = encode(message);
        const auto decoded = decode_client(packet);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->index(), message.index());
        EXPECT_EQ(encode(*decoded), packet);
        EXPECT_FALSE(decode_server(packet));
    }
    const ServerMessage from_server[] = {
        ServerHello{protocol_version, {"instance", {some_attempt(), some_attempt()}}},
        some_outcome(), env::ExecRefused{some_attempt(), "reason"}};
    for (const auto& message : from_server) {
        const auto packet = encode(message);
        const auto decoded = decode_server(packet);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->index(), message.index());
        EXPECT_EQ(encode(*decoded), packet);
        EXPECT_FALSE(decode_client(packet));
    }
}

TEST(ExecProtocol, ShortAndLongPacketsAreRefused) {
    auto packet = encode_start(some_plan());
    for (std::size_t size = 0; size < packet.size(); ++size) {
        EXPECT_FALSE(decode_client(ByteView(packet).first(size))) << size;
    }
    packet.push_back(0);
    EXPECT_FALSE(decode_client(packet));
    packet = encode(ServerMessage(some_outcome()));
    for (std::size_t size = 0; size < packet.size(); ++size) {
        EXPECT_FALSE(decode_server(ByteView(packet).first(size))) << size;
    }
}

TEST(ExecProtocol, AFalseCountAndAnUnknownEndAreRefused) {
    ByteWriter hello;
    hello.u8(65);
    hello.u32(protocol_version);
    hello.text("i");
    hello.u32(0xffffffff);
    EXPECT_FALSE(decode_server(hello.view()));
    auto packet = encode(ServerMessage(some_outcome()));
    packet[1 + 8 + 20] = 99;  // kind, number, attempt, then the end
    EXPECT_FALSE(decode_server(packet));
}

TEST(ExecProtocol, AnotherVersionIsNamed) {
    const auto client = decode_client(encode(ClientMessage(ClientHello{2, 0})));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, Code::unsupported);
    const auto server = decode_server(encode(ServerMessage(ServerHello{2, {}})));
    ASSERT_FALSE(server);
    EXPECT_EQ(server.error().code, Code::unsupported);
}

TEST(ExecProtocol, APlanThatDoesNotFitBecomesItsReason) {
    auto plan = some_plan();
    plan.environment.push_back("BIG=" + std::string(packet_limit_bytes, 'x'));
    const auto packet = encode_start(plan);
    EXPECT_LE(packet.size(), packet_limit_bytes);
    const auto decoded = decode_client(packet);
    ASSERT_TRUE(decoded);
    EXPECT_FALSE(std::get<Start>(*decoded).impossible.empty());
    EXPECT_EQ(std::get<Start>(*decoded).plan.directory, plan.directory);
}

}  // namespace
}  // namespace reeve::exec
