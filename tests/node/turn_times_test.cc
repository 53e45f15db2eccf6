#include "node/turn_times.h"

#include <gtest/gtest.h>

#include <random>

namespace reeve::node {
namespace {

using std::chrono::microseconds;

MonoTime at(Duration d) { return MonoTime{1'000'000'000} + d; }

TEST(DurationHistogram, AQuantileIsAtMostAnEighthAboveTheTrueOneAndNeverBelow) {
    std::mt19937_64 random(7);
    for (int octave = 0; octave < 33; ++octave) {
        for (int i = 0; i < 50; ++i) {
            const std::uint64_t us = (1ULL << octave) + random() % (1ULL << octave);
            DurationHistogram one;
            one.add(microseconds(us));
            one.add(microseconds(1ULL << 40));  // so that the greatest does not bound it
            EXPECT_GE(one.quantile_us(500), us);
            EXPECT_LE(one.quantile_us(500), us + us / 8 + 1);
        }
    }
}

TEST(DurationHistogram, QuantilesCountFromTheLeast) {
    DurationHistogram times;
    EXPECT_EQ(times.quantile_us(990), 0U);
    EXPECT_TRUE(times.buckets().empty());
    for (int i = 0; i < 99; ++i) {
        times.add(microseconds(5));
    }
    times.add(seconds(2));
    EXPECT_EQ(times.count(), 100U);
    EXPECT_EQ(times.quantile_us(500), 5U);
    EXPECT_EQ(times.quantile_us(990), 5U);
    EXPECT_EQ(times.quantile_us(1000), 2'000'000U);
    EXPECT_EQ(times.max_us(), 2'000'000U);
    ASSERT_EQ(times.buckets().size(), 2U);
    EXPECT_EQ(times.buckets()[0].up_to_us, 5U);
    EXPECT_EQ(times.buckets()[0].count, 99U);
}

TEST(DurationHistogram, WhatIsNegativeOrBeyondItsReachIsCounted) {
    DurationHistogram times;
    times.add(seconds(-1));
    times.add(std::chrono::hours(1000));
    EXPECT_EQ(times.count(), 2U);
    EXPECT_EQ(times.quantile_us(500), 0U);
    EXPECT_EQ(times.max_us(), 3'600'000'000'000U);
    EXPECT_EQ(times.buckets().size(), 2U);
}

TEST(TurnTimes, WorkIsFromBeginToEndAndLatenessFromDueToBegin) {
    TurnTimes times;
    times.turn(at(seconds(0)), at(milliseconds(3)), at(milliseconds(10)));
    EXPECT_EQ(times.run().lateness.max_us(), 3'000U);
    EXPECT_EQ(times.run().work.max_us(), 7'000U);
    times.turn(at(seconds(5)), at(seconds(4)), at(seconds(4)));
    EXPECT_EQ(times.run().lateness.max_us(), 3'000U) << "woken by mail before it was due";
    EXPECT_EQ(times.run().work.count(), 2U);
}

TEST(TurnTimes, TheMinuteIsTheLastOneThatIsOver) {
    TurnTimes times;
    const auto turns = [&](int second, int n, Duration work) {
        for (int i = 0; i < n; ++i) {
            const auto begin = at(seconds(second) + milliseconds(i));
            times.turn(begin, begin, begin + work);
        }
    };
    turns(0, 3, milliseconds(1));
    EXPECT_EQ(times.minute().work.count(), 3U) << "the first, while it is not over";
    turns(61, 2, milliseconds(5));
    EXPECT_EQ(times.minute().work.count(), 3U);
    EXPECT_EQ(times.minute().work.max_us(), 1'000U);
    turns(122, 1, milliseconds(1));
    EXPECT_EQ(times.minute().work.count(), 2U);
    EXPECT_EQ(times.minute().work.max_us(), 5'000U);
    EXPECT_EQ(times.run().work.count(), 6U);
}

}  // namespace
}  // namespace reeve::node
