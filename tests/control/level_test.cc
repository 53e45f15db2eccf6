#include "control/level.h"

#include <gtest/gtest.h>

namespace reeve::control {
namespace {

TEST(Level, ARaiseCountsAsFarAsEveryMemberKnows) {
    EXPECT_EQ(heeded_level(2, 1, {2, 2, 3}), 2U);
    EXPECT_EQ(heeded_level(999, 2, {2, 3, 999}), 2U);  // hostile, or mistaken
    EXPECT_EQ(heeded_level(999, 2, {3, 3, 999}), 3U);  // all know it since
}

TEST(Level, WhatWasReachedIsNotLowered) {
    EXPECT_EQ(heeded_level(3, 3, {3, 1}), 3U);
    EXPECT_EQ(heeded_level(1, 3, {1}), 3U);
}

TEST(Level, AloneWithWhoRaisedIt) {
    EXPECT_EQ(heeded_level(3, 1, {}), 3U);
    EXPECT_EQ(heeded_level(3, 1, {3}), 3U);
}

}  // namespace
}  // namespace reeve::control
