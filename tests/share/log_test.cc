#include <thread>

#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

const WriterId alpha("alpha.worker");
const std::string segment = "0000000001-0000000001.rlog";

class Log : public ShareWorld {
protected:
    static eventlog::HeadSlot slot_of(std::uint64_t incarnation, std::uint64_t counter) {
        eventlog::HeadSlot slot;
        slot.writer = alpha;
        slot.incarnation = Incarnation(incarnation);
        slot.counter = counter;
        slot.segment = SegmentNo(1);
        eventlog::sign(slot, test_identity(cluster_id(7), NodeId("alpha")));
        return slot;
    }
};

TEST_F(Log, PutGetLength) {
    auto one = make_share();
    EXPECT_FALSE(one->log().length(alpha, segment).value().has_value());
    ASSERT_TRUE(one->log().put(alpha, segment, Offset(0), as_bytes("abcdef")));
    ASSERT_TRUE(one->log().put(alpha, segment, Offset(6), as_bytes("ghi")));
    EXPECT_EQ(one->log().length(alpha, segment).value(), 9U);
    EXPECT_EQ(as_text(one->log().get(alpha, segment, Offset(2), 4).value()), "cdef");
    EXPECT_EQ(as_text(one->log().get(alpha, segment, Offset(7), 100).value()), "hi");
    EXPECT_TRUE(one->log().get(alpha, segment, Offset(100), 10).value().empty());
    EXPECT_EQ(one->log().segments(alpha).value(), std::vector<std::string>{segment});
    EXPECT_EQ(one->log().get(alpha, "0000000001-0000000002.rlog", Offset(0), 1).error().code,
              Code::not_found);
}

TEST_F(Log, WhatGoesOnNeedsABeginning) {  // I6
    auto one = make_share();
    EXPECT_EQ(one->log().put(alpha, segment, Offset(6), as_bytes("ghi")).error().code,
              Code::not_found)
        << "a late call must not leave a file with a hole where a segment was archived";
    EXPECT_TRUE(one->log().segments(alpha).value().empty());
}

TEST_F(Log, OnlyOurNames) {
    auto one = make_share();
    for (const std::string name :
         {"x.rlog", "../0000000001-0000000001.rlog", "1-1.rlog", "0000000001-0000000001.rlo"}) {
        EXPECT_EQ(one->log().put(alpha, name, Offset(0), as_bytes("x")).error().code, Code::invalid)
            << name;
    }
    EXPECT_EQ(one->log().put(WriterId(".."), segment, Offset(0), as_bytes("x")).error().code,
              Code::invalid);
    ASSERT_TRUE(one->log().put(alpha, segment, Offset(0), as_bytes("x")));
    std::filesystem::create_directory(at("log/UPPER"));
    std::filesystem::create_directory(at("log/lost+found"));
    write_text(at("log/beta.worker"), "a file");
    write_text(at("log/alpha.worker/notes.rlog"), "x");
    EXPECT_EQ(one->log().writers().value(), std::vector<WriterId>{alpha});
    EXPECT_EQ(one->log().segments(alpha).value().size(), 1U);
}

TEST_F(Log, HeadIsTheGreatestValidSlot) {
    auto one = make_share();
    EXPECT_FALSE(one->log().head(alpha).value().has_value());
    for (std::uint64_t counter = 1; counter <= 5; ++counter) {
        ASSERT_TRUE(one->log().declare(slot_of(1, counter)));
        EXPECT_EQ(one->log().head(alpha).value()->counter, counter);
    }
    ASSERT_TRUE(one->log().declare(slot_of(2, 1)));
    EXPECT_EQ(one->log().head(alpha).value()->incarnation, Incarnation(2));
    // A later incarnation whose HEAD is torn declares nothing.
    write_text(at("log/alpha.worker/0000000003.head"), std::string(8192, 'x'));
    write_text(at("log/alpha.worker/0000000004.head"), "");
    EXPECT_EQ(one->log().head(alpha).value()->incarnation, Incarnation(2));
    // A HEAD that another writer copied there on the owner's behalf counts.
    ASSERT_TRUE(one->log().declare(slot_of(5, 9)));
    std::filesystem::rename(at("log/alpha.worker/0000000005.head"),
                            at("log/alpha.worker/0000000005.head.beta.worker"));
    EXPECT_EQ(one->log().head(alpha).value()->counter, 9U);
    // A HEAD under another number does not.
    std::filesystem::copy(at("log/alpha.worker/0000000002.head"),
                          at("log/alpha.worker/0000000009.head"));
    EXPECT_EQ(one->log().head(alpha).value()->incarnation, Incarnation(5));
}

TEST_F(Log, ATornSlotLeavesThePreviousOne) {
    auto one = make_share();
    ASSERT_TRUE(one->log().declare(slot_of(1, 4)));
    ASSERT_TRUE(one->log().declare(slot_of(1, 5)));
    auto file = files.open(at("log/alpha.worker/0000000001.head"), env::OpenMode::write).value();
    ASSERT_TRUE(file->write_at(Offset(5 % 2 * 4096 + 16), as_bytes("torn")));
    EXPECT_EQ(one->log().head(alpha).value()->counter, 4U);
}

TEST_F(Log, QuarantineKeepsTheBytes) {
    auto one = make_share();
    ASSERT_TRUE(one->log().put(alpha, segment, Offset(0), as_bytes("different")));
    const auto name = one->log().quarantine(alpha, segment).value();
    EXPECT_FALSE(one->log().length(alpha, segment).value().has_value());
    EXPECT_EQ(read_text(at("log/alpha.worker/" + name)), "different");
    EXPECT_TRUE(one->log().segments(alpha).value().empty());
}

TEST_F(Log, AnIncarnationHasOneHolder) {
    constexpr std::uint64_t numbers = 200;
    auto a = make_share();
    auto b = make_share();
    std::vector<share::Nonce> seen_a(numbers);
    std::vector<share::Nonce> seen_b(numbers);
    const auto race = [](share::Share& one, std::uint8_t fill, std::vector<share::Nonce>& seen) {
        share::Nonce mine{};
        mine.fill(fill);
        for (std::uint64_t i = 0; i < numbers; ++i) {
            auto holder = one.log().claim_incarnation(alpha, Incarnation(i + 1), mine);
            ASSERT_TRUE(holder) << holder.error().message;
            seen[i] = *holder;
        }
    };
    std::thread first([&] { race(*a, 1, seen_a); });
    std::thread second([&] { race(*b, 2, seen_b); });
    first.join();
    second.join();
    EXPECT_EQ(seen_a, seen_b);
    EXPECT_EQ(a->log().greatest_incarnation(alpha).value(), Incarnation(numbers));
    EXPECT_EQ(a->log().greatest_incarnation(WriterId("beta.worker")).value(), Incarnation(0));
    EXPECT_EQ(files.list(at("log/alpha.worker")).value().size(),
              numbers);  // no private names are left
}

TEST_F(Log, ALostReplyOfTheIncarnationsLinkIsAWin) {
    auto one = make_share();
    files.link_lies = true;
    share::Nonce mine{};
    mine.fill(9);
    EXPECT_EQ(one->log().claim_incarnation(alpha, Incarnation(1), mine).value(), mine);
    EXPECT_EQ(one->log().claim_incarnation(alpha, Incarnation(1), mine).value(), mine);
    write_text(at("log/alpha.worker/0000000002.claim"), "garbage");
    EXPECT_EQ(one->log().claim_incarnation(alpha, Incarnation(2), mine).error().code,
              Code::corrupt);
}

}  // namespace
}  // namespace reeve::testing
