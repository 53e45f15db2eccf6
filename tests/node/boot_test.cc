// How a writer begins: what its own disk and the share hold, and what it makes of it.

#include "node/boot.h"

#include "node/forks.h"
#include "node/incarnation_file.h"
#include "runtime/posix_clock.h"
#include "tests/mirror/mirror_world.h"

namespace reeve::testing {
namespace {

class Boot : public Mirror {
protected:
    static constexpr const char* root = "state/log";

    node::NodeConfig config(std::uint64_t serial = 1) {
        node::NodeConfig out;
        out.node = node_of(nova);
        out.writer = nova;
        out.trust = test_trust(cluster_id(7));
        out.identity =
            test_identity(cluster_id(7), node_of(nova), serial, static_cast<std::uint8_t>(serial));
        out.state_directory = dir / "state";
        return out;
    }
    Result<node::BootedLog> boot(const node::NodeConfig& how) {
        std::filesystem::create_directories(dir / "state");  // as Node::make_directories does
        share::Nonce nonce{};
        nonce.fill(77);
        auto out = node::boot_log({time_, files, tasks_, entropy, telemetry_}, *share_, how, nonce);
        EXPECT_TRUE(tasks_.join_all(seconds(60)));
        return out;
    }
    std::string own_file(std::uint64_t incarnation) {
        return dir / (std::string(root) + "/nova.worker/" +
                      eventlog::segment_name({Incarnation(incarnation), SegmentNo(1)}));
    }
    /// Only a slot of HEAD, whatever else the share shows.
    void declare(const Side& side) {
        auto slot = eventlog::HeadSlot{};
        slot.counter = 1000;
        slot.writer = side.writer;
        slot.incarnation = side.incarnation;
        slot.segment = SegmentNo(1);
        slot.durable_end = side.log->position().end;
        slot.last_seq = side.log->position().seq;
        slot.last_hash = side.log->position().hash;
        eventlog::sign(slot, identity_of(side));
        ASSERT_TRUE(share_->log().declare(slot));
    }
    /// What nova knows of a fork that an operator has ended: behind `end`, from `continues` on.
    eventlog::ForkBook decided_fork(const eventlog::LogPosition& end, std::uint64_t continues) {
        eventlog::ForkBook book;
        EXPECT_TRUE(book.add(events::ForkSeen{nova, end.incarnation.v, end.seq.v + 1, {1}, {2}}));
        const auto key = testing_support::test_key(testing_support::operator_fill);
        events::ForkResolved word;
        word.writer = nova;
        word.cluster = cluster_id(7);
        word.continues = continues;
        word.incarnation = end.incarnation.v;
        word.segment = end.segment.v;
        word.end = end.end.v;
        word.seq = end.seq.v;
        word.hash = end.hash;
        word.operator_key = key.public_key();
        word.signature = key.sign(signed_part(word));
        EXPECT_TRUE(book.add(word, test_trust(cluster_id(7))));
        return book;
    }
    void flip(const std::string& file, std::uint64_t at) {
        auto bytes = read_text(file);
        bytes[at] = static_cast<char>(bytes[at] ^ 1);
        write_text(file, bytes);
    }

    runtime::PosixClock time_;
};

TEST_F(Boot, TheMarkOfDamageHasTheWholeLogReadAndMended) {
    auto first = start(root, nova, 1);
    say(first, "long ago");
    ASSERT_TRUE(push(first));
    auto second = start(root, nova, 2);
    say(second, "since");
    ASSERT_TRUE(push(second));
    flip(own_file(1), 4200);  // nothing that a start reads by itself
    ASSERT_TRUE(boot(config()));
    write_text(config().mend_file(), "it was found\n");
    const auto booted = boot(config());
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_EQ(booted->recovered.end, second.log->position());
    EXPECT_EQ(read_text(own_file(1)), read_text(shared_file("0000000001-0000000001.rlog")));
    EXPECT_FALSE(std::filesystem::exists(config().mend_file()));
    EXPECT_TRUE(std::filesystem::exists(first.directory() + "/quarantine"));
}

TEST_F(Boot, UnsharedEventsBehindMendedDamageAreKept) {
    auto run = start(root, nova, 1);
    say(run, "one");
    const auto damaged = run.log->position().end.v;
    say(run, "two");
    say(run, "three");
    ASSERT_TRUE(push(run));
    say(run, "only here");
    say(run, "and this");
    flip(own_file(1), damaged + 120);
    const auto booted = boot(config());
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_EQ(booted->recovered.end, run.log->position());
}

TEST_F(Boot, DamageOfWhatWasNeverSharedCutsNothingOff) {
    auto run = start(root, nova, 1);
    say(run, "one");
    ASSERT_TRUE(push(run));
    const auto damaged = run.log->position().end.v;
    say(run, "only here, and rotten");
    say(run, "only here, and whole");
    flip(own_file(1), damaged + 120);
    const auto before = read_text(own_file(1));
    const auto booted = boot(config());
    ASSERT_FALSE(booted);
    EXPECT_EQ(booted.error().code, Code::corrupt) << booted.error().message;
    EXPECT_EQ(read_text(own_file(1)), before);
}

TEST_F(Boot, ALostDiskAdoptsWhatHeadDeclaresAndNothingBehindIt) {
    auto run = start(root, nova, 1);
    say(run, "declared");
    ASSERT_TRUE(push(run));
    const auto declared = run.log->position();
    say(run, "put, and not declared");
    const auto all = read_text(own_file(1)).substr(0, run.log->position().end.v);
    write_text(shared_file("0000000001-0000000001.rlog"), all);
    std::filesystem::remove_all(dir / "state");
    const auto booted = boot(config());
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_EQ(booted->recovered.end, declared);
}

TEST_F(Boot, ForgedBatchesAreNotAdopted) {
    auto run = start(root, nova, 1);
    say(run, "truth");
    ASSERT_TRUE(push(run));
    const auto file = shared_file("0000000001-0000000001.rlog");
    auto forged = read_text(file);
    auto* batch = reinterpret_cast<std::uint8_t*>(forged.data()) + eventlog::header_page_bytes;
    const auto length = load_le<std::uint32_t>(batch + 8);
    forged.replace(forged.find("truth"), 5, "liess");
    store_le(batch + 56, crc32c(ByteView(batch + eventlog::batch_header_bytes,
                                         length - eventlog::batch_header_bytes)));
    store_le(batch + 4, crc32c(ByteView(batch + 8, eventlog::batch_header_bytes - 8)));
    write_text(file, forged);
    std::filesystem::remove_all(dir / "state");
    const auto booted = boot(config());
    ASSERT_FALSE(booted);
    EXPECT_EQ(booted.error().code, Code::corrupt) << booted.error().message;
    EXPECT_EQ(read_text(own_file(1)).find("liess"), std::string::npos);
}

TEST_F(Boot, AHeadOfAKeyThatWasReplacedDeclaresNothing) {
    auto first = start(root, nova, 1);
    say(first, "with the first key");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / root, dir / "thief", std::filesystem::copy_options::recursive);
    auto second = start(root, nova, 2, 2);
    say(second, "with the second key");
    ASSERT_TRUE(push(second));
    auto thief = start("thief", nova, 50);  // who has the first key still
    say(thief, "stolen");
    declare(thief);

    EXPECT_EQ(share_->log().head(nova).value()->incarnation, Incarnation(2));
    EXPECT_EQ(share_->log().head(nova, 2).value()->incarnation, Incarnation(2));
    auto other = start("two", mira, 1);
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(seen.mirrored, second.log->position());

    const auto booted = boot(config(2));
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_EQ(booted->recovered.end, second.log->position());
    // Also when the share has lost every HEAD of the second key.
    std::filesystem::remove(shared_file("0000000002.head"));
    const auto again = boot(config(2));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->recovered.end, second.log->position());
    auto third = start(root, nova, again->incarnation.v + 1, 2);
    say(third, "goes on");
    const auto pushed = push(third);
    EXPECT_TRUE(pushed) << pushed.error().message;
}

TEST_F(Boot, AHeadOfAReplacedKeyDeclaresNothingAlsoOfALogThatWasForked) {
    auto first = start(root, nova, 1);
    say(first, "common to both sides");
    const auto book = decided_fork(first.log->position(), 3);
    ASSERT_TRUE(push(first));
    auto second = start(root, nova, 3);
    say(second, "where an operator let it go on");
    std::filesystem::copy(dir / root, dir / "thief", std::filesystem::copy_options::recursive);
    auto third = start(root, nova, 4, 2);  // the key is another from here on
    std::filesystem::create_directories(dir / "state");
    ASSERT_TRUE(node::remember_forks(files, config(2), book));
    const auto recovered = [&](const eventlog::Cuts& cuts) {
        return eventlog::recover(files, third.directory(), config(2).trust, nova,
                                 eventlog::Tail::owners, cuts);
    };
    for (const auto* text : {"", "with the second key"}) {  // a segment without and with an event
        if (*text != 0) {
            say(third, text);
        }
        const auto plain = recovered({});
        const auto cut = recovered(book.of(nova));
        ASSERT_TRUE(cut) << cut.error().message;
        EXPECT_EQ(cut->end, plain->end);
        EXPECT_EQ(cut->serial, 2u);
        EXPECT_EQ(cut->last_hlc, plain->last_hlc);
    }
    auto thief = start("thief", nova, 50);
    say(thief, "stolen");
    say(thief, "and further on");
    declare(thief);
    const auto booted = boot(config(2));
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_EQ(booted->recovered.end, third.log->position());
    EXPECT_EQ(booted->recovered.serial, 2u);
}

TEST_F(Boot, WithoutTheShareALogGoesOnAndNoneIsBegun) {
    auto run = start(root, nova, 1);
    say(run, "shared");
    ASSERT_TRUE(push(run));
    std::filesystem::rename(dir / "nas", dir / "away");
    const auto alone = boot(config());
    ASSERT_TRUE(alone) << alone.error().message;
    EXPECT_EQ(alone->recovered.end, run.log->position());
    // A lost disk: a log begun here would be another history than the one on the share.
    std::filesystem::remove_all(dir / "state");
    const auto lost = boot(config());
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code, Code::unavailable) << lost.error().message;
    std::filesystem::rename(dir / "away", dir / "nas");
    const auto back = boot(config());
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->recovered.end, run.log->position());
}

// V6: a copy of this disk begins at the same moment. Both have read the same names; the number of
// this run is the next one that it holds itself.
TEST_F(Boot, ANumberThatACopyTookAMomentBeforeIsTheCopys) {
    auto run = start(root, nova, 1);
    say(run, "one");
    ASSERT_TRUE(push(run));
    share::Nonce other{};
    other.fill(55);
    bool raced = false;
    files.before_link = [&](const std::string& to) {
        if (to.ends_with("0000000002.claim") && !std::exchange(raced, true)) {
            const auto taken = share_->log().claim_incarnation(nova, Incarnation(2), other);
            EXPECT_TRUE(taken && *taken == other);
        }
    };
    const auto booted = boot(config());
    ASSERT_TRUE(booted) << booted.error().message;
    EXPECT_TRUE(raced);
    EXPECT_EQ(booted->incarnation, Incarnation(3));
}

// Adopting was interrupted: what lies here reads like a log that ends there, and is none.
TEST_F(Boot, ALogOfWhichAPartWasAdoptedDoesNotBeginWithoutTheShare) {
    auto first = start(root, nova, 1);
    say(first, "long ago");
    ASSERT_TRUE(push(first));
    auto second = start(root, nova, 2);
    say(second, "since");
    ASSERT_TRUE(push(second));
    std::filesystem::remove_all(dir / "state");
    const auto whole = dir / "nas/log/nova.worker/0000000002-0000000001.rlog";
    std::filesystem::rename(whole, dir / "hidden");
    ASSERT_FALSE(boot(config()));  // the first of the two is here now
    ASSERT_TRUE(std::filesystem::exists(own_file(1)));
    EXPECT_TRUE(std::filesystem::exists(config().adopting_file()));
    std::filesystem::rename(dir / "nas", dir / "away");
    const auto alone = boot(config());
    ASSERT_FALSE(alone);
    EXPECT_EQ(alone.error().code, Code::unavailable) << alone.error().message;
    std::filesystem::rename(dir / "away", dir / "nas");
    std::filesystem::rename(dir / "hidden", whole);
    const auto back = boot(config());
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->recovered.end, second.log->position());
    EXPECT_FALSE(std::filesystem::exists(config().adopting_file()));
    const auto since = node::remembered_incarnation(files, config().known_since_file());
    ASSERT_TRUE(since && *since);
    EXPECT_EQ((*since)->incarnation, Incarnation(3));  // of both runs something may be gone
}

TEST_F(Boot, AShareThatWentOnWithoutEventsOfThisDiskReplacesIt) {
    auto run = start(root, nova, 1);
    say(run, "both");
    ASSERT_TRUE(push(run));
    std::filesystem::copy(dir / root, dir / "clone", std::filesystem::copy_options::recursive);
    say(run, "only here");
    auto clone = start("clone", nova, 2);
    say(clone, "only there");
    ASSERT_TRUE(push(clone));
    const auto booted = boot(config());
    ASSERT_FALSE(booted);
    EXPECT_EQ(booted.error().code, Code::replaced) << booted.error().message;
    EXPECT_TRUE(std::filesystem::exists(config().replaced_file()));
}

}  // namespace
}  // namespace reeve::testing
