// The row of a job: the same bytes whatever the order and however often its events are folded (I5),
// and bytes that anybody may have spoilt (I9).

#include "tests/projection/random_events.h"

namespace reeve::projection {
namespace {

using events::Outcome;

std::vector<events::Event> events_of_job(RandomEvents& random, std::size_t most) {
    std::vector<events::Event> out;
    for (const auto& [writer, log] : random.logs(most)) {
        std::copy_if(log.begin(), log.end(), std::back_inserter(out),
                     [](const auto& event) { return job_of(event.payload) == job_id(1); });
    }
    return out;
}

JobRow fold_all(const std::vector<events::Event>& events) {
    JobRow row;
    for (const auto& event : events) {
        fold(row, event);
    }
    return row;
}

TEST(JobRowFold, OrderAndRepetitionDoNotMatter) {  // I5
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomEvents random(seed);
    for (int round = 0; round < 3000; ++round) {
        auto events = events_of_job(random, 30);
        const auto bytes = encode(fold_all(events));
        const auto n = events.size();
        for (std::size_t i = 0; i < n; ++i) {
            if (random.number(4) == 0) {
                events.push_back(events[random.number(static_cast<std::uint32_t>(n))]);
            }
        }
        std::shuffle(events.begin(), events.end(), random.engine());
        ASSERT_EQ(encode(fold_all(events)), bytes) << "round " << round;
    }
}

TEST(JobRowFold, TwoSubmissionsUnderOneIdResolveEquallyInBothOrders) {
    const auto first = submitted(R"({"argv":["a"],"dedupe":"k","type":"command"})");
    const auto second = submitted(R"({"argv":["b"],"dedupe":"k","type":"command"})");
    const events::Event a{hlc_at(story_start_ms), nova, Seq(1), first};
    const events::Event b{hlc_at(story_start_ms), mira, Seq(1),
                          second};  // the same moment: the writer decides
    auto start = started(1, nova);
    start.spec_hash = first.spec_hash;
    const events::Event begun{hlc_at(story_start_ms + 1), nova, Seq(2), start};
    for (const auto& order : {std::vector{a, b}, std::vector{b, a}}) {
        const auto row = fold_all(order);
        EXPECT_EQ(row.submissions.size(), 2u);
        EXPECT_EQ(row.submission()->document, second.document) << "the least stamp";
        EXPECT_EQ(row.spec_hash(), second.spec_hash);
    }
    for (const auto& order :
         {std::vector{a, b, begun}, std::vector{begun, b, a}, std::vector{b, begun, a}}) {
        const auto row = fold_all(order);
        EXPECT_EQ(row.submission()->document, first.document) << "what JobStarted names";
        EXPECT_EQ(row.spec_hash(), first.spec_hash);
    }
}

TEST(JobRowFold, FieldsAreTheLeastTheGreatestOrTheUnion) {
    const auto row = row_of({submitted(),
                             cancelled(),
                             cancelled(true),
                             ended(2, events::Ending::failed),
                             ended(2, events::Ending::cancelled),
                             opened(2, 5),
                             opened(2, 6),
                             {lost(1), mira},
                             {lost(1), coordinator},
                             started(1),
                             {started(1, mira), mira},
                             released(1)});
    EXPECT_EQ(row.cancel->stamp.seq, Seq(2));
    EXPECT_TRUE(row.cancel->give_up_lost);
    EXPECT_EQ(row.ended->ending, events::Ending::failed) << "the name was won once";
    EXPECT_EQ(row.attempt(AttemptNo(2))->opened->not_before_ms, 6);
    EXPECT_EQ(row.attempt(AttemptNo(1))->lost->stamp.writer, coordinator);
    EXPECT_EQ(row.attempt(AttemptNo(1))->starts.size(), 2u);
    EXPECT_TRUE(row.attempt(AttemptNo(1))->has_unreleased_start());
    EXPECT_EQ(row.current(), AttemptNo(2));
    const auto ranked = row_of({finished(1, Outcome::failed), finished(1, Outcome::succeeded),
                                finished(1, Outcome::timeout)});
    EXPECT_EQ(ranked.attempt(AttemptNo(1))->finished->outcome, Outcome::succeeded);
    const auto offered =
        row_of({events::JobOffered{attempt_of(2), {}}, events::JobOffered{attempt_of(1), {}}});
    EXPECT_EQ(offered.offer->attempt, AttemptNo(2)) << "a late offer of an earlier attempt";
    const auto owner = row_of({lost(1), {lost(1), mira}});
    EXPECT_TRUE(owner.attempt(AttemptNo(1))->lost->by_owner)
        << "the owner's word weighs more than a later one";
}

TEST(JobRowFold, OnlyEventsOfJobsAreFolded) {
    JobRow row;
    for (const auto& payload :
         {events::Payload(events::Observation{}), events::Payload(events::SwitchSet{}),
          events::Payload(events::NodeStarted{}), events::Payload(events::Unknown{7})}) {
        EXPECT_FALSE(fold(row, {Hlc(1), nova, Seq(1), payload}));
        EXPECT_FALSE(job_of(payload));
    }
    EXPECT_EQ(encode(row), encode(JobRow{}));
}

TEST(JobRowBytes, EveryRowComesBackAsItWas) {
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomEvents random(seed);
    for (int round = 0; round < 2000; ++round) {
        const auto row = fold_all(events_of_job(random, 30));
        const auto bytes = encode(row);
        const auto again = decode_job_row(bytes);
        ASSERT_TRUE(again) << again.error().message;
        ASSERT_EQ(encode(*again), bytes);
        ASSERT_EQ(situation_of(*again, {}).next, situation_of(row, {}).next);
        ASSERT_EQ(again->spec_hash(), row.spec_hash());
        for (const auto& [k, attempt] : row.attempts) {
            ASSERT_EQ(again->attempt(k)->phase(), attempt.phase());
            ASSERT_EQ(again->attempt(k)->released(), attempt.released());
            for (const auto& [writer, mark] : attempt.starts) {
                ASSERT_EQ(again->attempt(k)->starts.at(writer).claimed, mark.claimed);
            }
        }
    }
}

TEST(JobRowBytes, ARowThatIsCutOrTooLongIsCorrupt) {
    RandomEvents random(1);
    const auto bytes = encode(fold_all(events_of_job(random, 60)));
    ASSERT_GT(bytes.size(), 300u);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        const auto row = decode_job_row(ByteView(bytes).first(n));
        ASSERT_FALSE(row) << n;
        ASSERT_EQ(row.error().code, Code::corrupt);
    }
    auto longer = bytes;
    longer.push_back(0);
    EXPECT_FALSE(decode_job_row(longer));
    auto newer = bytes;
    newer[0] = 2;
    EXPECT_FALSE(decode_job_row(newer)) << "a version that this build does not know";
}

TEST(JobRowBytes, SpoiltBytesNeverCrash) {  // I9
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomEvents random(seed);
    int refused = 0;
    for (int round = 0; round < 20'000; ++round) {
        auto bytes = encode(fold_all(events_of_job(random, 12)));
        for (int i = 0; i < 3; ++i) {
            bytes[random.number(static_cast<std::uint32_t>(bytes.size()))] =
                static_cast<std::uint8_t>(random.number(256));
        }
        const auto row = decode_job_row(bytes);
        refused += row ? 0 : 1;
        if (row) {
            static_cast<void>(situation_of(*row, {}));
            static_cast<void>(row->submission());
            static_cast<void>(encode(*row));
        }
    }
    EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace reeve::projection
