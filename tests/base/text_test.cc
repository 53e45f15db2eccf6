#include "base/text.h"

#include <gtest/gtest.h>

namespace reeve {
namespace {

TEST(Text, IsClippedBetweenCharacters) {
    EXPECT_EQ(clip_utf8("abc", 5), "abc");
    EXPECT_EQ(clip_utf8("abcdef", 5), "abcde");
    EXPECT_EQ(clip_utf8("a\xC3\xA9z", 2), "a");
    EXPECT_EQ(clip_utf8("\xF0\x9F\x98\x80", 3), "");
}

TEST(Text, WhatIsNoCharacterIsReplaced) {
    const std::string bad = "\xEF\xBF\xBD";
    EXPECT_EQ(valid_utf8("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
              "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
    EXPECT_EQ(valid_utf8("a\xFFz"), "a" + bad + "z");
    EXPECT_EQ(valid_utf8("\xC0\xAF"), bad + bad);            // overlong
    EXPECT_EQ(valid_utf8("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
    EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);
    EXPECT_EQ(valid_utf8("\xE2\x82"), bad + bad);  // cut short
}

}  // namespace
}  // namespace reeve
