// Push and pull over a real directory: what the share shows, whoever put it there.

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
