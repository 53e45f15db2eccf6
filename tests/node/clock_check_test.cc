#include "node/clock_check.h"

#include <gtest/gtest.h>

namespace reeve::node {
namespace {

using Verdict = ClockCheck::Verdict;

constexpr std::int64_t epoch_ms = 1'700'000'000'000;

/// A machine whose wall clock differs from the share's by `off`.
struct Machine {
    ClockCheck check;
    milliseconds since_start{0};
    milliseconds off{0};

    MonoTime mono() const { return MonoTime{1} + since_start; }
    WallTime wall() const { return WallTime{epoch_ms} + since_start + off; }
    void pass(milliseconds time) {
        since_start += time;
        check.tick(wall(), mono());
    }
    /// A HEAD that took so long; the share gave its time when the call ended.
    ClockSample sample(milliseconds took = milliseconds(10)) {
        const auto before = wall();
        since_start += took;
        return {before, wall(), mono(), WallTime{epoch_ms} + since_start};
    }
    Verdict compare(milliseconds took = milliseconds(10)) {
        const auto one = sample(took);
        check.tick(wall(), mono());
        return check.compare(one);
    }
};

TEST(ClockCheck, ANewOneIsTrustedWhenItWasCompared) {
    Machine machine;
    machine.pass(milliseconds(100));
    EXPECT_FALSE(machine.check.trusted());
    EXPECT_FALSE(machine.check.off());
    EXPECT_EQ(machine.compare(), Verdict::unchanged);
    EXPECT_TRUE(machine.check.trusted());
    EXPECT_EQ(machine.check.ahead(), milliseconds(0));
}

TEST(ClockCheck, OffBeyondTwoSecondsAndGoodAgainWithinOne) {
    for (const int sign : {1, -1}) {
        Machine machine;
        machine.off = sign * milliseconds(1'900);
        EXPECT_EQ(machine.compare(), Verdict::unchanged);
        EXPECT_TRUE(machine.check.trusted());
        machine.off = sign * milliseconds(2'100);
        EXPECT_EQ(machine.compare(), Verdict::went_off);
        EXPECT_TRUE(machine.check.off());
        EXPECT_FALSE(machine.check.trusted());
        EXPECT_NEAR(static_cast<double>(machine.check.ahead()->count()), sign * 2'100, 11);
        machine.off = sign * milliseconds(1'200);
        EXPECT_EQ(machine.compare(), Verdict::unchanged) << "not yet";
        EXPECT_TRUE(machine.check.off());
        machine.off = sign * milliseconds(900);
        EXPECT_EQ(machine.compare(), Verdict::came_back);
        EXPECT_TRUE(machine.check.trusted());
    }
}

TEST(ClockCheck, TheTimeOfASlowCallBlamesNobody) {
    Machine machine;
    EXPECT_EQ(machine.compare(milliseconds(60'000)), Verdict::unchanged);
    EXPECT_TRUE(machine.check.trusted());
}

TEST(ClockCheck, AStepIsNotTrustedBeforeTheNextComparison) {
    Machine machine;
    machine.compare();
    machine.pass(milliseconds(500));
    EXPECT_TRUE(machine.check.trusted());
    const auto before = machine.sample();
    machine.off = milliseconds(3'600'000);
    machine.pass(milliseconds(500));
    EXPECT_FALSE(machine.check.trusted());
    EXPECT_FALSE(machine.check.off()) << "perhaps it was set right";
    EXPECT_EQ(machine.check.compare(before), Verdict::unchanged);
    EXPECT_FALSE(machine.check.trusted()) << "compared before the step";
    EXPECT_EQ(machine.compare(), Verdict::went_off);
}

TEST(ClockCheck, AClockThatWasSetRightIsTrustedAfterOneComparison) {
    Machine machine;
    machine.off = milliseconds(-3'600'000);
    EXPECT_EQ(machine.compare(), Verdict::went_off);
    machine.off = milliseconds(0);
    machine.pass(milliseconds(100));
    EXPECT_TRUE(machine.check.off());
    EXPECT_EQ(machine.compare(), Verdict::came_back);
    EXPECT_TRUE(machine.check.trusted());
}

}  // namespace
}  // namespace reeve::node
