// Push and pull over a real directory: what the share shows, whoever put it there.

#include "tests/mirror/counting_share.h"
#include "tests/mirror/mirror_world.h"

namespace reeve::testing {
namespace {

TEST_F(Mirror, WhatIsSharedIsMirroredByteForByte) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    for (int i = 0; i < 20; ++i) {
        say(owner, std::to_string(i));
    }
    ASSERT_TRUE(push(owner));
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(seen.mirrored, owner.log->position());
    const auto mine = read_text(owner.directory() + "/0000000001-0000000001.rlog");
    const auto copy = read_text(other.root + "/nova.worker/0000000001-0000000001.rlog");
    EXPECT_EQ(copy, mine.substr(0, copy.size()));
    EXPECT_EQ(copy.size(), owner.log->position().end.v);
}

TEST_F(Mirror, ASlotThatIsNotSignedDeclaresNothing) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "shared");
    auto slot = push(owner).value();
    slot.counter += 11;  // into the other of the two places
    slot.last_seq = Seq(99);
    ASSERT_TRUE(share_->log().declare(slot));  // a share that lies, with every CRC right
    const auto seen = pull(other, nova);
    EXPECT_EQ(seen.mirrored, owner.log->position());
    EXPECT_EQ(seen.head->last_seq, Seq(1));
}

TEST_F(Mirror, ACopyOfThisProcessIsNoticedByItsTag) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    ASSERT_TRUE(push(owner));
    // The same disk, incarnation and nonce in another machine; its next tags are its own.
    std::filesystem::copy(dir / "one", dir / "clone", std::filesystem::copy_options::recursive);
    std::filesystem::remove(dir / "clone/nova.worker/head.tags");
    Side clone{dir / "clone", nova, Incarnation(1), owner.nonce, {}, {}, {}};
    clone.pusher = std::make_unique<mirror::Pusher>(env(), share_->log(), options(clone));
    const auto done = clone.pusher->push(owner.log->position(), Hlc(1), true);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::replaced);
    EXPECT_NE(done.error().message.find("host of nova.worker"), std::string::npos);
}

TEST_F(Mirror, AHistoryThatIsNotOursReplacesUs) {
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / "one", dir / "old", std::filesystem::copy_options::recursive);
    auto onward = start("one", nova, 2);
    say(onward, "only the share knows this");
    ASSERT_TRUE(push(onward));
    auto old = start("old", nova, 70);  // it began without the share, above every number
    say(old, "only this disk knows this");
    const auto done = push(old);
    EXPECT_EQ(done.error().code, Code::replaced) << done.error().message;
}

TEST_F(Mirror, DamageOnTheShareIsSetAsideAndSharedAnew) {
    auto owner = start("one", nova, 1);
    for (int i = 0; i < 20; ++i) {
        say(owner, std::to_string(i));
    }
    ASSERT_TRUE(push(owner));
    const auto file = shared_file("0000000001-0000000001.rlog");
    const auto whole = read_text(file);
    auto rotten = whole;
    rotten[5000] = static_cast<char>(rotten[5000] ^ 1);
    write_text(file, rotten);
    auto other = start("two", mira, 1);
    const auto seen = pull(other, nova);
    EXPECT_FALSE(seen.caught_up);
    EXPECT_NE(seen.error.find("at offset"), std::string::npos) << seen.error;
    owner.pusher->doubt_shared();
    ASSERT_TRUE(settle(owner));
    EXPECT_TRUE(told(owner.pusher->take_notices(), "log.quarantined"));
    EXPECT_EQ(read_text(file).substr(0, whole.size()), whole);
    clock.advance(seconds(10));
    EXPECT_TRUE(pull(other, nova).caught_up);
}

TEST_F(Mirror, RotOnTheOwnDiskIsMendedAndIsNoClone) {
    auto first = start("one", nova, 1);
    for (int i = 0; i < 20; ++i) {
        say(first, std::to_string(i));
    }
    ASSERT_TRUE(push(first));
    auto second = start("one", nova, 2);
    say(second, "of the second run");
    const auto file = first.directory() + "/0000000001-0000000001.rlog";
    const auto whole = read_text(file);
    auto rotten = whole;
    rotten[5000] = static_cast<char>(rotten[5000] ^ 1);
    write_text(file, rotten);
    const auto done = settle(second);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(told(second.pusher->take_notices(), "log.repaired"));
    const auto end = first.log->position().end.v;
    EXPECT_EQ(read_text(file).substr(0, end), whole.substr(0, end));
    auto other = start("two", mira, 1);
    EXPECT_TRUE(pull(other, nova).caught_up);
}

TEST_F(Mirror, AShareThatLostALogGetsItFromWhoMirroredIt) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    say(owner, "two");
    ASSERT_TRUE(push(owner));
    auto other = start("two", mira, 1);
    ASSERT_TRUE(pull(other, nova).caught_up);
    ASSERT_TRUE(push(owner));  // a heartbeat: nothing of it is stored in the mirror
    ASSERT_TRUE(pull(other, nova).caught_up);
    std::filesystem::remove_all(at("log/nova.worker"));
    clock.advance(seconds(1));
    static_cast<void>(pull(other, nova));
    EXPECT_TRUE(told(other.puller->take_notices(), "log.shared_for"));
    EXPECT_FALSE(pull(other, nova).share_behind);
    EXPECT_TRUE(other.puller->take_notices().empty());
    auto third = start("three", WriterId("orin.worker"), 1);
    const auto seen = pull(third, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(seen.mirrored, owner.log->position());
}

/// What `side` has said is shared, and is read by a mirror that stood elsewhere and by a new one.
class EmptySegment : public Mirror {
protected:
    void expect_all_follow(Side& side, Side& other) {
        const auto pushed = push(side);
        ASSERT_TRUE(pushed) << pushed.error().message;
        const auto seen = pull(other, nova);
        EXPECT_TRUE(seen.caught_up) << seen.error;
        EXPECT_EQ(seen.mirrored, side.log->position());
        auto third = start("three", WriterId("orin.worker"), 1);
        EXPECT_EQ(pull(third, nova).mirrored, side.log->position());
    }
};

// Of two copies of one disk one shares that it has begun, and ends before its first event.
TEST_F(EmptySegment, ASegmentWithoutEventsHoldsNobodyBack) {  // I6
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / "one", dir / "copy", std::filesystem::copy_options::recursive);
    auto begun = start("one", nova, 2);
    ASSERT_TRUE(push(begun));
    auto other = start("two", mira, 1);
    ASSERT_TRUE(pull(other, nova).caught_up);
    ASSERT_TRUE(std::filesystem::exists(other.root + "/nova.worker/0000000002-0000000001.rlog"));
    // To the other copy its client does not show it yet.
    std::filesystem::remove(shared_file(eventlog::head_name(Incarnation(2))));
    auto copy = start("copy", nova, 3);
    say(copy, "the other one goes on");
    expect_all_follow(copy, other);
    // A mirror that starts anew reads the same.
    auto again = start("two", mira, 2);
    EXPECT_TRUE(pull(again, nova).caught_up);
    EXPECT_TRUE(again.puller->take_forks().empty());
}

// The same, and the one that goes on had said something before that the other did not know.
TEST_F(EmptySegment, ASegmentWithoutEventsIsPassedOverForALongerPast) {  // I6
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / "one", dir / "copy", std::filesystem::copy_options::recursive);
    say(first, "only the one that goes on knows this");
    auto begun = start("copy", nova, 2);
    ASSERT_TRUE(push(begun));
    auto other = start("two", mira, 1);
    ASSERT_TRUE(pull(other, nova).caught_up);
    std::filesystem::remove(shared_file(eventlog::head_name(Incarnation(2))));
    auto onward = start("one", nova, 3);
    say(onward, "it goes on");
    expect_all_follow(onward, other);
    for (const auto* root : {"two", "three"}) {
        auto reader = *eventlog::LogReader::open(files, dir / root + "/nova.worker",
                                                 test_trust(cluster_id(7)), nova);
        int events = 0;
        for (auto batch = reader.next(std::nullopt);; batch = reader.next(std::nullopt)) {
            ASSERT_TRUE(batch) << root << ": " << batch.error().message;
            if (!*batch) {
                break;
            }
            events += static_cast<int>((*batch)->events.size());
        }
        EXPECT_EQ(events, 3) << root;
        EXPECT_EQ(reader.position(), onward.log->position());
    }
    auto again = start("two", mira, 2);
    EXPECT_TRUE(pull(again, nova).caught_up);
}

// Before its first event, the log of a node that began twice has no place to part from.
TEST_F(Mirror, ALogThatBeganTwiceWithoutAnEventIsOneLog) {
    auto begun = start("one", nova, 1);
    ASSERT_TRUE(push(begun));
    auto other = start("two", mira, 1);
    ASSERT_TRUE(pull(other, nova).caught_up);
    std::filesystem::remove(shared_file(eventlog::head_name(Incarnation(1))));
    auto anew = start("anew", nova, 2);
    say(anew, "first");
    ASSERT_TRUE(push(anew));
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(seen.mirrored, anew.log->position());
}

// Two histories of one log, and a mirror of the first when the share shows the second.
TEST_F(Mirror, AForkIsToldWithItsPlaceAndTheLogGoesOnWhereItIsDecided) {  // I5, I6
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    const auto common = first.log->position();
    const auto all = std::filesystem::copy_options::recursive;
    for (const auto* name : {"old", "fresh"}) {
        std::filesystem::copy(dir / "one", dir / name, all);
    }
    std::filesystem::copy(at("log/nova.worker"), dir / "shared before", all);
    auto onward = start("one", nova, 2);
    say(onward, "of one side");
    ASSERT_TRUE(push(onward));
    auto other = start("two", mira, 1);
    ASSERT_TRUE(pull(other, nova).caught_up);
    std::filesystem::remove_all(at("log/nova.worker"));
    std::filesystem::copy(dir / "shared before", at("log/nova.worker"), all);
    auto old = start("old", nova, 3);
    say(old, "of the other side");
    ASSERT_TRUE(push(old));

    const auto seen = pull(other, nova);
    EXPECT_NE(seen.error.find("the histories part at event 2 of incarnation 2"), std::string::npos)
        << seen.error;
    const auto forks = other.puller->take_forks();
    ASSERT_EQ(forks.size(), 1u);
    EXPECT_EQ(forks[0].writer, nova);
    EXPECT_EQ(forks[0].seq, common.seq.v + 1);
    EXPECT_EQ(forks[0].incarnation, 2u);
    EXPECT_LT(forks[0].first, forks[0].second);
    static_cast<void>(pull(other, nova));
    EXPECT_TRUE(other.puller->take_forks().empty()) << "told once";

    eventlog::ForkBook book;
    ASSERT_TRUE(book.add(forks[0]));
    other.puller->set_forks(book);
    const auto cut = pull(other, nova);
    EXPECT_TRUE(cut.cut);
    EXPECT_EQ(cut.error, "");
    EXPECT_EQ(cut.mirrored, common);

    const auto key = testing_support::test_key(testing_support::operator_fill);
    events::ForkResolved decision;
    decision.writer = nova;
    decision.cluster = cluster_id(7);
    decision.continues = 4;
    decision.incarnation = common.incarnation.v;
    decision.segment = common.segment.v;
    decision.end = common.end.v;
    decision.seq = common.seq.v;
    decision.hash = common.hash;
    decision.operator_key = key.public_key();
    decision.signature = key.sign(signed_part(decision));
    ASSERT_TRUE(book.add(decision, test_trust(cluster_id(7))));
    other.puller->set_forks(book);
    EXPECT_TRUE(pull(other, nova).cut) << "nothing goes on there yet";
    auto fresh = start("fresh", nova, 4);
    auto with = options(fresh);
    EXPECT_EQ(fresh.pusher->push(fresh.log->position(), Hlc(1), true).error().code, Code::replaced);
    with.forks = book;
    fresh.pusher = std::make_unique<mirror::Pusher>(env(), share_->log(), with);
    say(fresh, "goes on");
    const auto pushed = push(fresh);
    ASSERT_TRUE(pushed) << pushed.error().message;
    const auto again = pull(other, nova);
    EXPECT_EQ(again.error, "");
    EXPECT_TRUE(again.caught_up);
    EXPECT_FALSE(again.cut);
    EXPECT_EQ(again.mirrored, fresh.log->position());
}

// I2: who concludes something from what he has read must know how old it is.
TEST_F(Mirror, AnAnswerIsAsOldAsItsQuestion) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    ASSERT_TRUE(push(owner));
    auto other = start("two", mira, 1);
    CountingShare slow(share_->log());
    auto with = options(other);
    with.relist = seconds(3600);
    mirror::Puller puller(env(), slow, with);
    ASSERT_TRUE(puller.round());
    const auto asked = clock.mono_now();
    slow.in_head = [this] { clock.advance(seconds(120)); };
    const auto round = puller.round(mirror::Look::heads);
    ASSERT_TRUE(round) << round.error().message;
    EXPECT_EQ(round->at(nova).head_read, asked);
    EXPECT_EQ(clock.mono_now(), asked + seconds(120));
}

TEST_F(Mirror, ALookAtHeadsSeesARunThatIsKnownAndANewOneWhenItIsTimeToList) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    ASSERT_TRUE(push(owner));
    auto other = start("two", mira, 1);
    auto with = options(other);
    with.relist = seconds(10);
    mirror::Puller puller(env(), share_->log(), with);
    const auto look = [&](mirror::Look how) { return puller.round(how)->at(nova).mirrored; };
    const auto ring = [&](const Side& side) {
        const auto& end = side.log->position();
        return puller.news({cluster_id(7), nova, end.segment, end.end});
    };
    EXPECT_EQ(ring(owner), mirror::Look::names);  // nothing is known of it yet
    EXPECT_EQ(look(mirror::Look::heads), owner.log->position());
    EXPECT_EQ(ring(owner), std::nullopt);
    say(owner, "two");
    EXPECT_EQ(ring(owner), mirror::Look::heads);
    ASSERT_TRUE(push(owner));
    EXPECT_EQ(look(mirror::Look::heads), owner.log->position());

    const auto before = owner.log->position();
    auto next = start("one", nova, 2);
    say(next, "three");
    ASSERT_TRUE(push(next));
    EXPECT_EQ(look(mirror::Look::heads), before);
    EXPECT_EQ(ring(next), mirror::Look::names);
    EXPECT_EQ(look(mirror::Look::names), next.log->position());
    auto last = start("one", nova, 3);
    say(last, "four");
    ASSERT_TRUE(push(last));
    clock.advance(seconds(11));
    EXPECT_EQ(look(mirror::Look::heads), last.log->position());
}

TEST_F(Mirror, ARemovedWriterIsReadToItsEndOnly) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    ASSERT_TRUE(push(owner));
    const auto end = owner.log->position();
    say(owner, "after its removal");
    ASSERT_TRUE(push(owner));
    auto other = start("two", mira, 1);
    other.puller->set_retired({{nova, {1, end}}});
    static_cast<void>(pull(other, nova));
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.retired);
    EXPECT_EQ(seen.mirrored, end) << seen.error;
}

}  // namespace
}  // namespace reeve::testing
