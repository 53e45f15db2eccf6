#include <set>
#include <thread>

#include "share/dir/names.h"
#include "share/dir/records.h"
#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

using share::Ticket;
using share::TicketKind;

class Claims : public ShareWorld {
protected:
    std::string claim_path(const AttemptId& attempt) {
        return at("queue/claims/" + share::claim_bucket(attempt.job) + "/" + attempt.text());
    }
    std::size_t tickets_of(const std::string& writer) {
        const auto entries = files.list(at("queue/tickets/" + writer));
        return entries ? entries->size() : 0;
    }
};

TEST_F(Claims, TheFirstLinkWinsAndBothSeeTheWinner) {
    auto a = make_share();
    auto b = make_share();
    const auto mine = ticket_of("alpha.worker");
    const auto theirs = ticket_of("beta.worker");
    ASSERT_TRUE(a->claims().prepare(mine));
    ASSERT_TRUE(b->claims().prepare(theirs));
    const auto name = attempt_id(1);
    ASSERT_FALSE(a->claims().look(name).value().has_value());
    ASSERT_TRUE(a->claims().link(name, mine));
    ASSERT_TRUE(b->claims().link(name, theirs));
    EXPECT_EQ(a->claims().look(name).value(), mine);
    EXPECT_EQ(b->claims().look(name).value(), mine);
}

TEST_F(Claims, TwoWritersRaceTwoThousandNamesAndEachHasOneWinner) {
    constexpr std::uint64_t names = 2000;
    auto a = make_share();
    auto b = make_share();
    std::vector<std::optional<Ticket>> seen_a(names);
    std::vector<std::optional<Ticket>> seen_b(names);
    const auto race = [](share::Share& one, const Ticket& mine,
                         std::vector<std::optional<Ticket>>& seen) {
        ASSERT_TRUE(one.claims().prepare(mine));
        for (std::uint64_t i = 0; i < names; ++i) {
            ASSERT_TRUE(one.claims().link(attempt_id(i), mine));
            auto holder = one.claims().look(attempt_id(i));
            ASSERT_TRUE(holder) << holder.error().message;
            seen[i] = *holder;
        }
    };
    std::thread first([&] { race(*a, ticket_of("alpha.worker"), seen_a); });
    std::thread second([&] { race(*b, ticket_of("beta.worker"), seen_b); });
    first.join();
    second.join();
    for (std::uint64_t i = 0; i < names; ++i) {
        ASSERT_TRUE(seen_a[i].has_value()) << i;
        ASSERT_EQ(seen_a[i], seen_b[i]) << i;
    }
    const auto held_a = a->claims().list_of(WriterId("alpha.worker")).value();
    const auto held_b = a->claims().list_of(WriterId("beta.worker")).value();
    EXPECT_EQ(held_a.size() + held_b.size(), names);
}

TEST_F(Claims, ALostReplyOfALinkThatWonIsStillAWin) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().prepare(mine));
    files.link_lies = true;
    ASSERT_TRUE(a->claims().link(attempt_id(1), mine));
    EXPECT_EQ(a->claims().look(attempt_id(1)).value(), mine);
}

TEST_F(Claims, ATicketServesAThousandLinks) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().prepare(mine));
    EXPECT_EQ(tickets_of("alpha.worker"), 3U);  // one a kind
    files.links = 0;
    for (std::uint64_t i = 0; i < 2001; ++i) {
        ASSERT_TRUE(a->claims().link(attempt_id(i), mine));
    }
    EXPECT_EQ(files.links, 2001);  // one LINK call a claim
    EXPECT_EQ(tickets_of("alpha.worker"), 5U);
    EXPECT_EQ(a->claims().look(attempt_id(2000)).value(), mine);
    EXPECT_EQ(a->claims().list_of(mine.writer).value().size(), 2001U);
}

TEST_F(Claims, KindsAreKept) {
    auto a = make_share();
    for (const auto kind : {TicketKind::run, TicketKind::ended, TicketKind::cancelled}) {
        const auto mine = ticket_of("alpha.worker", 3, kind);
        const auto name = attempt_id(static_cast<std::uint64_t>(kind), 2);
        ASSERT_TRUE(a->claims().prepare(mine));
        ASSERT_TRUE(a->claims().link(name, mine));
        EXPECT_EQ(a->claims().look(name).value(), mine);
    }
}

TEST_F(Claims, TicketsThatVanishedAreRemade) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().prepare(mine));
    std::filesystem::remove_all(at("queue/tickets"));
    ASSERT_TRUE(a->claims().link(attempt_id(1), mine));
    EXPECT_EQ(a->claims().look(attempt_id(1)).value(), mine);
    std::filesystem::remove_all(at("queue/tickets"));
    clock.advance(seconds(2));
    ASSERT_TRUE(a->claims().prepare(mine));
    EXPECT_EQ(tickets_of("alpha.worker"), 3U);
    std::filesystem::remove_all(at("queue/claims"));
    ASSERT_TRUE(a->claims().link(attempt_id(2), mine));
    EXPECT_EQ(a->claims().look(attempt_id(2)).value(), mine);
    EXPECT_FALSE(a->claims().look(attempt_id(1)).value().has_value());
}

TEST_F(Claims, AClaimThatARollbackGaveToAnotherIsSeenByLookingAndThenByListing) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    const auto theirs = ticket_of("beta.worker");
    ASSERT_TRUE(a->claims().link(attempt_id(1), mine));
    ASSERT_EQ(a->claims().list_of(mine.writer).value().size(), 1U);
    std::filesystem::remove(claim_path(attempt_id(1)));
    ASSERT_TRUE(make_share()->claims().link(attempt_id(1), theirs));
    EXPECT_EQ(a->claims().look(attempt_id(1)).value(), theirs);
    EXPECT_TRUE(a->claims().list_of(mine.writer).value().empty());
}

TEST_F(Claims, ListingFindsEveryIncarnationOfTheWriterOnly) {
    auto a = make_share();
    ASSERT_TRUE(a->claims().link(attempt_id(1), ticket_of("alpha.worker", 1)));
    ASSERT_TRUE(a->claims().link(attempt_id(2, 3), ticket_of("alpha.worker", 2)));
    ASSERT_TRUE(a->claims().link(attempt_id(3), ticket_of("beta.worker", 1)));
    const auto held = make_share()->claims().list_of(WriterId("alpha.worker")).value();
    ASSERT_EQ(held.size(), 2U);
    std::set<std::string> names;
    for (const auto& one : held) {
        names.insert(one.attempt.text() + "/" + std::to_string(one.ticket.incarnation.v));
    }
    EXPECT_TRUE(names.contains(attempt_id(1).text() + "/1"));
    EXPECT_TRUE(names.contains(attempt_id(2, 3).text() + "/2"));
}

TEST_F(Claims, WhatCannotBeReadIsAnothers) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().prepare(mine));
    auto good = share::encode_ticket(mine);
    auto flipped = good;
    flipped[20] = static_cast<std::uint8_t>(flipped[20] ^ 1);
    const std::string contents[] = {"", "hello", std::string(as_text(flipped)),
                                    std::string(as_text(good)) + "x", std::string(1 << 20, 'x')};
    std::uint64_t n = 0;
    for (const auto& content : contents) {
        const auto name = attempt_id(++n);
        write_text(claim_path(name), content);
        ASSERT_TRUE(a->claims().link(name, mine));
        const auto holder = a->claims().look(name);
        ASSERT_TRUE(holder) << holder.error().message;
        ASSERT_TRUE(holder->has_value());
        EXPECT_TRUE((*holder)->writer.empty()) << n;
    }
    std::filesystem::create_symlink("/etc/passwd", claim_path(attempt_id(100)));
    ASSERT_TRUE(a->claims().look(attempt_id(100)).value().has_value());
    EXPECT_TRUE(a->claims().look(attempt_id(100)).value()->writer.empty());
    EXPECT_TRUE(a->claims().list_of(mine.writer).value().empty());
}

TEST_F(Claims, HostileNamesAreSkipped) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().link(attempt_id(1), mine));
    const auto content = read_text(claim_path(attempt_id(1)));
    const auto bucket = share::claim_bucket(job_id(1));
    const auto other = bucket == "00" ? "01" : "00";
    write_text(at("queue/claims/" + bucket + "/notes.txt"), content);
    write_text(at("queue/claims/" + bucket + "/" + job_id(1).text() + ".a01"), content);
    write_text(at(std::string("queue/claims/") + other + "/" + attempt_id(1, 9).text()), content);
    std::filesystem::create_directories(at("queue/claims/zz"));
    write_text(at("queue/claims/zz/" + attempt_id(1, 8).text()), content);
    std::filesystem::create_directories(
        at("queue/claims/" + bucket + "/" + attempt_id(1, 7).text()));
    EXPECT_EQ(a->claims().list_of(mine.writer).value().size(), 1U);
}

TEST_F(Claims, AMissingMountIsNotAFreeName) {
    auto a = make_share();
    const auto mine = ticket_of("alpha.worker");
    ASSERT_TRUE(a->claims().link(attempt_id(1), mine));
    std::filesystem::rename(root(), root() + ".away");
    std::filesystem::create_directory(root());
    EXPECT_EQ(a->claims().look(attempt_id(1)).error().code, Code::unavailable);
    EXPECT_EQ(a->claims().look(attempt_id(2)).error().code, Code::unavailable);
    EXPECT_EQ(a->claims().list_of(mine.writer).error().code, Code::unavailable);
    EXPECT_EQ(a->claims().link(attempt_id(2), mine).error().code, Code::unavailable);
    clock.advance(seconds(2));
    EXPECT_EQ(a->claims().prepare(mine).error().code, Code::unavailable);
    EXPECT_TRUE(std::filesystem::is_empty(root()));
}

TEST(NameRecord, HasOneEncoding) {
    const auto ticket = ticket_of("alpha.worker", 9, TicketKind::ended);
    const auto bytes = share::encode_ticket(ticket);
    EXPECT_EQ(bytes.size(), share::name_record_bytes);
    EXPECT_EQ(share::decode_ticket(bytes), ticket);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto changed = bytes;
        changed[i] = static_cast<std::uint8_t>(changed[i] ^ 0x40);
        EXPECT_FALSE(share::decode_ticket(changed).has_value()) << i;
        EXPECT_FALSE(share::decode_ticket(ByteView(bytes).first(i)).has_value()) << i;
    }
    EXPECT_FALSE(share::decode_incarnation(bytes).has_value());
}

}  // namespace
}  // namespace reeve::testing
