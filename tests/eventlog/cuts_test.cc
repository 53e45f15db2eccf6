// Cuts of forked logs: what is read, however the facts arrive (I5).

#include "eventlog/cuts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/lib/test_identity.h"

namespace reeve::eventlog {
namespace {

const WriterId mira("mira.worker");

LogPosition behind(std::uint64_t seq) {
    return {Incarnation(2), SegmentNo(1), Offset(5000), Seq(seq), {7}};
}

events::ForkSeen fork(std::uint64_t incarnation, std::uint64_t seq, std::uint8_t other = 2) {
    return {mira, incarnation, seq, {1}, {other}};
}

events::ForkResolved decided(std::uint64_t continues, std::uint64_t seq, std::uint8_t key = 1) {
    events::ForkResolved out;
    out.writer = mira;
    out.continues = continues;
    out.incarnation = 2;
    out.seq = seq;
    const auto by = testing_support::test_key(key);
    out.operator_key = by.public_key();
    out.signature = by.sign(signed_part(out));
    return out;
}

TEST(Cuts, EverythingBehindAForkIsCutAlsoInLaterIncarnations) {
    Cuts cuts;
    EXPECT_TRUE(cuts.admits(Incarnation(9), Seq(1000)));
    cuts.cut(Incarnation(3), Seq(10));
    EXPECT_EQ(cuts.open(), Seq(10));
    EXPECT_TRUE(cuts.admits(Incarnation(3), Seq(9)));
    EXPECT_FALSE(cuts.admits(Incarnation(3), Seq(10)));
    EXPECT_FALSE(cuts.admits(Incarnation(4), Seq(11)));
    cuts.cut(Incarnation(2), Seq(7));
    EXPECT_EQ(cuts.open(), Seq(7)) << "the least of all that any log reports";
    EXPECT_FALSE(cuts.admits(Incarnation(3), Seq(9)));
}

TEST(Cuts, ADecisionLetsTheLogGoOnBehindThePlaceThatItNames) {
    Cuts cuts;
    cuts.cut(Incarnation(3), Seq(10));
    cuts.go_on({Incarnation(6), behind(9)});
    EXPECT_EQ(cuts.open(), std::nullopt);
    EXPECT_FALSE(cuts.admits(Incarnation(3), Seq(10))) << "the sides stay unread";
    EXPECT_FALSE(cuts.admits(Incarnation(5), Seq(10)));
    EXPECT_TRUE(cuts.admits(Incarnation(6), Seq(10)));
    cuts.cut(Incarnation(2), Seq(5));
    EXPECT_EQ(cuts.open(), Seq(5)) << "decided about a place behind an earlier fork";
    EXPECT_FALSE(cuts.admits(Incarnation(6), Seq(10)));
    cuts.go_on({Incarnation(8), behind(4)});
    EXPECT_FALSE(cuts.admits(Incarnation(6), Seq(10)));
    EXPECT_TRUE(cuts.admits(Incarnation(8), Seq(5)));
    cuts.cut(Incarnation(8), Seq(20));
    EXPECT_EQ(cuts.open(), Seq(20)) << "no decision about it yet";
    EXPECT_TRUE(cuts.admits(Incarnation(8), Seq(19)));
}

TEST(Cuts, TwoDecisionsAreOneTheGreatest) {
    Cuts one, other;
    for (auto* cuts : {&one, &other}) {
        cuts->cut(Incarnation(3), Seq(10));
    }
    one.go_on({Incarnation(6), behind(9)});
    one.go_on({Incarnation(7), behind(9)});
    other.go_on({Incarnation(7), behind(9)});
    other.go_on({Incarnation(6), behind(9)});
    EXPECT_EQ(one, other);
    EXPECT_FALSE(one.admits(Incarnation(6), Seq(10)));
    EXPECT_TRUE(one.admits(Incarnation(7), Seq(10)));
}

TEST(Forks, TheOrderInWhichFactsArriveChangesNothing) {  // I5
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto trust = Trust::unpinned({});
    std::vector<events::Payload> facts{fork(3, 10),      fork(3, 10),    fork(3, 10, 3),
                                       fork(2, 12),      fork(8, 30),    decided(6, 9),
                                       decided(7, 9, 2), decided(9, 29), decided(6, 9)};
    std::string first;
    for (int round = 0; round < 100; ++round) {
        std::shuffle(facts.begin(), facts.end(), random);
        ForkBook book;
        for (const auto& fact : facts) {
            if (const auto* seen = std::get_if<events::ForkSeen>(&fact)) {
                book.add(*seen);
            } else {
                book.add(std::get<events::ForkResolved>(fact), trust);
            }
        }
        const auto text = book.text();
        ASSERT_TRUE(text);
        first = first.empty() ? *text : first;
        ASSERT_EQ(*text, first);
        const auto again = ForkBook::parse(*text, trust);
        ASSERT_TRUE(again) << again.error().message;
        ASSERT_EQ(again->cuts(), book.cuts());
    }
}

TEST(Forks, ADecisionCountsWithTheSignatureOfAnOperatorAlone) {
    const auto mine = testing_support::test_key(1).public_key();
    ForkBook book;
    EXPECT_FALSE(book.add(decided(6, 9, 2), Trust({}, {mine})));
    auto forged = decided(6, 9, 1);
    forged.continues = 5;
    EXPECT_FALSE(book.add(forged, Trust({}, {mine})));
    EXPECT_TRUE(book.add(decided(6, 9, 1), Trust({}, {mine})));
    EXPECT_FALSE(book.add(decided(6, 9, 1), Trust({}, {mine}))) << "known";
}

TEST(Forks, ADamagedBookIsNone) {
    ForkBook book;
    book.add(fork(3, 10));
    auto text = *book.text();
    const auto trust = Trust::unpinned({});
    for (std::size_t at = 0; at < text.size(); ++at) {
        text[at] = static_cast<char>(text[at] ^ 1);
        EXPECT_FALSE(ForkBook::parse(text, trust)) << at;
        text[at] = static_cast<char>(text[at] ^ 1);
        EXPECT_FALSE(ForkBook::parse(text.substr(0, at), trust)) << at;
    }
    EXPECT_TRUE(ForkBook::parse(text, trust));
}

}  // namespace
}  // namespace reeve::eventlog
