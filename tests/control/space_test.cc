// What a writer still writes as the room on its own disk becomes scarce.

#include <gtest/gtest.h>

#include "control/space.h"

namespace reeve::control {
namespace {

using enum SpaceLevel;

constexpr SpacePolicy policy{800, 100};

TEST(Space, HealthIsDroppedFirstThenNewWorkIsRefused) {
    EXPECT_EQ(space_level(800, ample, policy), ample);
    EXPECT_EQ(space_level(799, ample, policy), low);
    EXPECT_EQ(space_level(400, ample, policy), low);
    EXPECT_EQ(space_level(399, ample, policy), refusing);
    EXPECT_EQ(space_level(0, low, policy), refusing);
}

TEST(Space, ALevelIsLeftOnlyWithAMargin) {
    EXPECT_EQ(space_level(400, refusing, policy), refusing);
    EXPECT_EQ(space_level(499, refusing, policy), refusing);
    EXPECT_EQ(space_level(500, refusing, policy), low);
    EXPECT_EQ(space_level(800, low, policy), low);
    EXPECT_EQ(space_level(899, refusing, policy), low);
    EXPECT_EQ(space_level(900, low, policy), ample);
    EXPECT_EQ(space_level(900, refusing, policy), ample);
}

TEST(Space, WithoutAReserveNothingIsRefused) {
    EXPECT_EQ(space_level(0, ample, SpacePolicy{0, 100}), ample);
    EXPECT_EQ(space_level(0, refusing, SpacePolicy{0, 100}), ample);
}

TEST(Space, TheBallastDoesNotReachIntoTheReserve) {
    EXPECT_TRUE(room_for_ballast(900, policy));
    EXPECT_FALSE(room_for_ballast(899, policy));
    EXPECT_FALSE(room_for_ballast(799, policy));
    EXPECT_TRUE(room_for_ballast(UINT64_MAX, policy));
    EXPECT_FALSE(room_for_ballast(UINT64_MAX, SpacePolicy{UINT64_MAX, 1}));
}

}  // namespace
}  // namespace reeve::control
