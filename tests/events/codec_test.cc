#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "events/codec.h"

namespace reeve::events {
namespace {

JobId job() { return JobId::make(1'700'000'000'000, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}); }
AttemptId attempt() { return {job(), AttemptNo(3)}; }
StreamRecord stream(const char* text) {
    const auto bytes = as_bytes(text);
    return {Bytes(bytes.begin(), bytes.end()), 77, 66, sha256(bytes), true};
}

/// One of each type, every field different from its default.
std::vector<Payload> samples() {
    JobFinished finished{attempt(), NodeId("mira"), Outcome::timeout,  3,     9, 11, 12, 13,
                         14,        stream("out"),  stream("err\xff"), "why", 15};
    return {
        NodeStarted{NodeId("nova"),
                    Incarnation(4),
                    "worker",
                    {"storage"},
                    {"zone=a"},
                    2,
                    8,
                    4096,
                    1,
                    "0.1",
                    5000},
        NodeStopped{NodeId("nova"), Incarnation(4), "asked"},
        JobSubmitted{job(), R"({"argv":["/bin/true"]})", sha256(as_bytes("x")), 1000, "r/0",
                     SubmitDoor::incoming, "a.json", "old"},
        JobRejected{"a.json", "/argv", "empty", 7},
        JobOffered{attempt(),
                   {{NodeId("nova"), true, "", 1, 2, 3, 4, 5, 6},
                    {NodeId("mira"), false, "drained", 0, 0, 0, 0, 0, 0}}},
        JobStarted{attempt(), NodeId("nova"), Incarnation(4), sha256(as_bytes("x")), false},
        std::move(finished),
        JobReleased{attempt(), NodeId("nova"), "barrier"},
        JobLost{attempt(), WriterId("nova.worker"), "gone"},
        AttemptOpened{attempt(), 123, "retry"},
        JobEnded{attempt(), Ending::cancelled, "dependency"},
        JobCancelRequested{job(), 5, "c", true},
        SwitchSet{"drain/nova", "on", 9, 5, "disk"},
        NodeHealth{NodeId("nova"), "ok", 1, 250, 1024, 2048},
        Observation{"log.corrupt", "mira.worker", "bit"},
        DigestTaken{"cut", "00ff"},
        WriterRetired{WriterId("mira.worker"), 2, 3, 4, 5000, 77, {1, 2}, "died", {3}, {4}, {5}},
        PolicyLoaded{7, {{"retention.toml", "[results]\n"}}, {6}, {7}, {8}},
        LevelRaised{7},
        ForkSeen{WriterId("mira.worker"), 3, 78, {1}, {2}},
        ForkResolved{WriterId("mira.worker"), 6, 3, 4, 5000, 77, {1, 2}, "cut", {3}, {4}, {5}}};
}

TEST(Codec, EveryTypeComesBackAsItWas) {
    const auto all = samples();
    ASSERT_EQ(all.size() + 1, std::variant_size_v<Payload>);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const auto bytes = encode(Hlc(42 + i), all[i]);
        ASSERT_TRUE(bytes);
        EXPECT_EQ(type_id(all[i]), i + 1) << "numbers of types are stored and never change";
        const auto event = decode(type_id(all[i]), *bytes, WriterId("nova.worker"), Seq(7));
        ASSERT_TRUE(event) << type_name(type_id(all[i])) << ": " << event.error().message;
        EXPECT_EQ(event->hlc, Hlc(42 + i));
        const auto again = encode(event->hlc, event->payload);
        ASSERT_TRUE(again);
        EXPECT_EQ(*again, *bytes) << type_name(type_id(all[i]));
        const Event original{Hlc(42 + i), WriterId("nova.worker"), Seq(7), all[i]};
        EXPECT_EQ(to_json(*event), to_json(original));
        EXPECT_TRUE(nlohmann::json::accept(to_json(*event)));
    }
}

TEST(Codec, UnknownTypeIsKeptNotGuessed) {
    const auto bytes = encode(Hlc(1), Observation{"a", "b", "c"});
    const auto event = decode(999, *bytes, WriterId("nova.worker"), Seq(1));
    ASSERT_TRUE(event);
    EXPECT_EQ(std::get<Unknown>(event->payload).type, 999);
    EXPECT_EQ(std::get<Unknown>(event->payload).flatbuffer, *bytes);
    const auto shown = nlohmann::json::parse(to_json(*event));
    EXPECT_EQ(shown["type"], "Unknown(999)");
    EXPECT_EQ(shown["flatbuffer"], to_hex(*bytes)) << "an export loses nothing";
}

TEST(Codec, EveryTypeHasALevelThatThisBuildKnows) {
    std::uint32_t newest = 0;
    for (std::uint16_t type = 1; type < std::variant_size_v<Payload>; ++type) {
        EXPECT_GE(level_of(type), first_level) << type_name(type);
        EXPECT_LE(level_of(type), current_level) << type_name(type);
        newest = std::max(newest, level_of(type));
    }
    EXPECT_EQ(newest, current_level) << "a level without a type of its own";
    EXPECT_GT(level_of(0), current_level);
    EXPECT_GT(level_of(999), current_level);
}

TEST(Codec, ALevelBelowTheFirstIsNone) {
    EXPECT_FALSE(decode(type_id(LevelRaised{}), *encode(Hlc(1), LevelRaised{0}),
                        WriterId("nova.worker"), Seq(1)));
}

TEST(Codec, AFrameThatNamesAnotherTypeIsCorrupt) {
    const auto bytes = encode(Hlc(1), Observation{"a", "b", "c"});
    const auto event = decode(1, *bytes, WriterId("nova.worker"), Seq(1));
    ASSERT_FALSE(event);
    EXPECT_EQ(event.error().code, Code::corrupt);
}

TEST(Codec, AnEventThatIsTooLargeIsRefused) {
    const auto bytes = encode(Hlc(1), Observation{"a", "b", std::string(max_event_bytes, 'x')});
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, Code::invalid);
}

TEST(Codec, HostileBytesNeverCrash) {  // I9
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::size_t refused = 0;
    for (const auto& payload : samples()) {
        const auto good = *encode(Hlc(1), payload);
        for (int round = 0; round < 500; ++round) {
            auto bytes = good;
            for (int flips = 0; flips < 4; ++flips) {
                bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
            }
            bytes.resize(1 + random() % bytes.size());
            const auto event = decode(type_id(payload), bytes, WriterId("nova.worker"), Seq(1));
            refused += event ? 0U : 1U;
        }
    }
    EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace reeve::events
