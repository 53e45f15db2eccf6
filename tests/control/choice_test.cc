// Which offer a worker with a free slot takes.

#include <gtest/gtest.h>

#include "control/router.h"

namespace reeve::control {
namespace {

const NodeId nova("nova");

events::OfferScore score(const std::string& name, std::int64_t expected_ms, bool eligible = true) {
    events::OfferScore out;
    out.node = NodeId(name);
    out.eligible = eligible;
    out.expected_ms = out.cost_ms = expected_ms;
    return out;
}

Choice offer(std::vector<events::OfferScore> scores, std::uint32_t passed_over = 0,
             bool tried = false) {
    Choice out;
    out.scores = std::move(scores);
    out.passed_over = passed_over;
    out.tried = tried;
    return out;
}

/// Mine after another that is expected to be done so much sooner.
Choice second_to(std::int64_t other_ms, std::int64_t mine_ms, std::uint32_t passed_over = 0) {
    return offer({score("mira", other_ms), score("nova", mine_ms)}, passed_over);
}

const Choice first = offer({score("nova", 1000), score("mira", 1000)});
const Choice not_mine = offer({score("mira", 1000), score("nova", 1000, false)});

TEST(Choose, TheLineIsTakenFromItsHead) {
    EXPECT_EQ(choose(nova, {}), std::nullopt);
    EXPECT_EQ(choose(nova, {first, first}), 0u);
    EXPECT_EQ(choose(nova, {second_to(1000, 1000), second_to(1000, 1000)}), 0u);
}

TEST(Choose, WhatItRanksFirstInComesBeforeTheHead) {
    EXPECT_EQ(choose(nova, {second_to(1000, 1000), second_to(1000, 1000), first}), 2u);
}

TEST(Choose, NeverWhatItIsNotEligibleForOrHasTried) {
    EXPECT_EQ(choose(nova, {not_mine}), std::nullopt);
    EXPECT_EQ(choose(nova, {not_mine, second_to(1000, 1000)}), 1u);
    auto tried = first;
    tried.tried = true;
    tried.passed_over = pass_over_limit;
    EXPECT_EQ(choose(nova, {tried}), std::nullopt);
    EXPECT_EQ(choose(nova, {tried, first}), 1u);
    auto excluded = not_mine;
    excluded.passed_over = pass_over_limit;
    EXPECT_EQ(choose(nova, {excluded}), std::nullopt);
    EXPECT_EQ(choose(nova, {offer({})}), std::nullopt);
}

TEST(Choose, AnotherThatIsExpectedSoonerByTheMarginIsLetGo) {
    struct Case {
        std::int64_t other_ms, mine_ms;
        bool taken;
    };
    for (const auto& one : {Case{1000, 1200, true}, Case{1000, 1201, false}, Case{100, 300, true},
                            Case{100, 301, false}, Case{10'000, 12'000, true},
                            Case{10'000, 12'001, false}, Case{2000, 1000, true}}) {
        EXPECT_EQ(choose(nova, {second_to(one.other_ms, one.mine_ms)}).has_value(), one.taken)
            << one.other_ms << " there, " << one.mine_ms << " here";
    }
    EXPECT_EQ(choose(nova, {second_to(1000, 9000), second_to(1000, 1000)}), 1u);
}

TEST(Choose, AJobPassedOverTooOftenMayNotBePassedOverAgain) {
    EXPECT_EQ(choose(nova, {second_to(1000, 9000, pass_over_limit - 1), first}), 1u);
    EXPECT_EQ(choose(nova, {second_to(1000, 9000, pass_over_limit), first}), 0u);
}

TEST(Choose, OnlyTheHeadOfTheLineIsLookedAt) {
    std::vector<Choice> line(dispatch_window, not_mine);
    line.push_back(first);
    EXPECT_EQ(choose(nova, line), std::nullopt);
    line.erase(line.begin());
    EXPECT_EQ(choose(nova, line), dispatch_window - 1);
}

}  // namespace
}  // namespace reeve::control
