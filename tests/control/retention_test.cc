// retention.toml, and what goes by it.

#include <gtest/gtest.h>

#include "control/retention.h"

namespace reeve::control {
namespace {

constexpr std::int64_t day = 86'400'000;
constexpr std::int64_t now = 1'000 * day;

RetentionItem item(const std::string& name, std::int64_t age_days, std::uint64_t bytes = 1,
                   RetentionClass what = RetentionClass::results) {
    return {what, name, 1, bytes, now - age_days * day, ""};
}

std::vector<std::string> names(const std::vector<RetentionRemoval>& removals) {
    std::vector<std::string> out;
    for (const auto& one : removals) {
        out.push_back(one.item.name);
    }
    return out;
}

using Names = std::vector<std::string>;

TEST(RetentionText, NothingSaidIsTheDefault) {
    const auto policy = parse_retention("", "retention.toml");
    ASSERT_TRUE(policy);
    EXPECT_EQ(policy->of(RetentionClass::results).age_days, 30);
    EXPECT_EQ(policy->of(RetentionClass::results).total_bytes, 20ULL << 30);
    EXPECT_EQ(policy->of(RetentionClass::quarantine).age_days, 90);
}

TEST(RetentionText, EachClassIsSetByItself) {
    const auto policy = parse_retention(
        "[results]\nage_days = 7\ntotal_gib = 3\n[rejected]\nage_days = 0\n", "retention.toml");
    ASSERT_TRUE(policy);
    EXPECT_EQ(policy->of(RetentionClass::results).age_days, 7);
    EXPECT_EQ(policy->of(RetentionClass::results).total_bytes, 3ULL << 30);
    EXPECT_EQ(policy->of(RetentionClass::rejected).age_days, 0);
    EXPECT_EQ(policy->of(RetentionClass::rendering).age_days, 30);
}

TEST(RetentionText, ErrorsNamePlaceKeyValueAndWhatIsAccepted) {
    const auto message = [](const std::string& text) {
        const auto policy = parse_retention(text, "retention.toml");
        return policy ? std::string("accepted") : policy.error().message;
    };
    EXPECT_EQ(message("[results]\nage_days = -1\n"),
              "retention.toml:2:12: 'results.age_days' is -1; accepted: a whole number from 0 to "
              "36500");
    EXPECT_NE(message("[results]\nage_days = \"9\"\n").find("accepted: a whole number"),
              std::string::npos);
    EXPECT_NE(message("[log]\nage_days = 1\n").find("unknown key 'log'"), std::string::npos);
    EXPECT_NE(message("[rejected]\ntotal_gib = 1\n").find("unknown key 'rejected.total_gib'"),
              std::string::npos);
    EXPECT_NE(message("results = 3\n").find("'results' is no table"), std::string::npos);
    EXPECT_NE(message("[results\n").find("retention.toml:1:"), std::string::npos);
}

TEST(Retention, WhatIsTooOldGoesTheOldestFirst) {
    const auto goes = what_goes({}, {item("young", 30), item("old", 31), item("older", 40)}, now);
    EXPECT_EQ(names(goes), (Names{"older", "old"}));
    EXPECT_EQ(goes.front().reason, "older than 30 days");
}

TEST(Retention, WhatIsKeptForAReasonStaysWhateverItsAge) {
    auto kept = item("last good", 400);
    kept.kept_because = "the last good one";
    EXPECT_TRUE(what_goes({}, {kept}, now).empty());
}

TEST(Retention, OverTheBoundTheOldestGoButNoneOfToday) {
    RetentionPolicy policy;
    policy.of(RetentionClass::results) = {30, 10};
    const auto goes = what_goes(
        policy, {item("a", 5, 6), item("b", 4, 6), item("c", 3, 6), item("d", 0, 60)}, now);
    EXPECT_EQ(names(goes), (Names{"a", "b", "c"}));
    const auto few = what_goes(policy, {item("a", 5, 6), item("b", 4, 6)}, now);
    EXPECT_EQ(names(few), (Names{"a"}));
    const auto aged = what_goes(policy, {item("too old", 31, 9), item("b", 4, 6)}, now);
    EXPECT_EQ(names(aged), (Names{"too old"})) << "what goes by its age makes room first";
}

TEST(Retention, AgeZeroAndTheFutureKeepEverything) {
    RetentionPolicy policy;
    policy.of(RetentionClass::rejected).age_days = 0;
    EXPECT_TRUE(
        what_goes(policy, {item("r", 5000, 1, RetentionClass::rejected), item("f", -50)}, now)
            .empty());
}

}  // namespace
}  // namespace reeve::control
