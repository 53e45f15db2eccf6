// The own log and its shared copy, a step at a time: what is put, what is compared, and what is
// told meanwhile.

#include "tests/mirror/counting_share.h"
#include "tests/mirror/mirror_world.h"

namespace reeve::testing {
namespace {

constexpr std::uint64_t step = 64 << 10;
constexpr int runs = 6;
constexpr int events_a_run = 20;

class PusherTest : public Mirror {
protected:
    void SetUp() override {
        Mirror::SetUp();
        counting_.emplace(share_->log());
    }
    /// A new run whose steps are small.
    Side start_small(std::uint64_t incarnation) {
        auto side = start("one", nova, incarnation);
        auto how = options(side);
        how.step_bytes = step;
        side.pusher = std::make_unique<mirror::Pusher>(env(), *counting_, how);
        return side;
    }
    void say_much(Side& side) {
        for (int i = 0; i < events_a_run; ++i) {
            say(side, std::string(10'000, static_cast<char>('a' + i)));
        }
    }
    /// Some earlier runs, all of them shared; 200 KB each.
    void live_before() {
        for (std::uint64_t run = 1; run <= runs; ++run) {
            auto side = start_small(run);
            say_much(side);
            ASSERT_TRUE(settle(side));
        }
    }
    Result<std::optional<eventlog::HeadSlot>> one_step(Side& side, bool heartbeat) {
        counting_->put_bytes = 0;
        counting_->got_bytes = 0;
        return side.pusher->push(side.log->position(), Hlc(1), heartbeat);
    }
    std::string file_of(std::uint64_t incarnation) {
        return eventlog::segment_name({Incarnation(incarnation), SegmentNo(1)});
    }
    void expect_equal_files() {
        for (std::uint64_t run = 1; run <= runs; ++run) {
            const auto ours = read_text(dir / ("one/nova.worker/" + file_of(run)));
            const auto theirs = read_text(shared_file(file_of(run)));
            EXPECT_EQ(theirs, ours.substr(0, theirs.size())) << run;
            EXPECT_GT(theirs.size(), 200'000U) << run;
        }
    }

    std::optional<CountingShare> counting_;
};

TEST_F(PusherTest, WhatTheShareHasLostIsPutInBoundedSteps) {
    live_before();
    std::filesystem::remove_all(at("log/nova.worker"));
    auto side = start_small(runs + 1);
    int steps = 0;
    for (;; ++steps) {
        const auto slot = one_step(side, false);
        ASSERT_TRUE(slot) << slot.error().message;
        EXPECT_LE(counting_->put_bytes + counting_->got_bytes, step + 8192) << steps;
        if (*slot) {
            break;
        }
        EXPECT_TRUE(side.pusher->busy());
        say(side, "meanwhile");  // the loop goes on
    }
    EXPECT_GT(steps, runs * 200 / 64);
    expect_equal_files();
    auto other = start("two", mira, 1);
    EXPECT_TRUE(pull(other, nova).caught_up);
}

TEST_F(PusherTest, ARestartDeclaresBeforeAllIsCompared) {
    live_before();
    auto side = start_small(runs + 1);
    say(side, "of this run");
    std::uint64_t read = 0;
    for (bool declared = false; !declared;) {
        const auto slot = one_step(side, false);
        ASSERT_TRUE(slot) << slot.error().message;
        read += counting_->got_bytes;
        declared = slot->has_value();
    }
    EXPECT_LT(read, 20'000U);  // of more than a million
    EXPECT_TRUE(side.pusher->comparing());
    // The comparison goes on in steps, and what is new is shared meanwhile.
    int steps = 0;
    for (; side.pusher->comparing(); ++steps) {
        counting_->got_bytes = 0;
        side.pusher->scrub();
        EXPECT_LE(counting_->got_bytes, step + 8192);
        say(side, "more");
        const auto slot = one_step(side, false);
        ASSERT_TRUE(slot);
        ASSERT_TRUE(*slot);
        EXPECT_EQ((*slot)->last_seq, side.log->position().seq);
    }
    EXPECT_GT(steps, runs * 200 / 64);
}

// Else the task asks again and again while the share is away, and does nothing.
TEST_F(PusherTest, WhatIsComparedWaitsForAShareThatIsAway) {
    live_before();
    auto side = start_small(runs + 1);
    const auto declare = [&] {
        for (bool declared = false; !declared;) {
            const auto slot = one_step(side, false);
            ASSERT_TRUE(slot) << slot.error().message;
            declared = slot->has_value();
        }
    };
    declare();
    ASSERT_TRUE(side.pusher->comparing());
    std::filesystem::rename(root(), root() + ".away");
    EXPECT_FALSE(one_step(side, true));
    EXPECT_FALSE(side.pusher->comparing());
    EXPECT_FALSE(side.pusher->busy());
    std::filesystem::rename(root() + ".away", root());
    declare();
    EXPECT_TRUE(side.pusher->comparing());
    ASSERT_TRUE(settle(side));
}

TEST_F(PusherTest, RotOfAnEarlierRunIsSetAsideAndSharedAnewMeanwhile) {
    live_before();
    const auto file = shared_file(file_of(2));
    auto rotten = read_text(file);
    rotten[100'000] = static_cast<char>(rotten[100'000] ^ 1);
    write_text(file, rotten);
    auto side = start_small(runs + 1);
    ASSERT_TRUE(settle(side));
    EXPECT_TRUE(told(side.pusher->take_notices(), "log.quarantined"));
    expect_equal_files();
}

TEST_F(PusherTest, AFileThatBecameShorterIsPutOnFromThere) {
    live_before();
    const auto file = shared_file(file_of(3));
    std::filesystem::resize_file(file, 70'000);
    auto side = start_small(runs + 1);
    ASSERT_TRUE(settle(side));
    EXPECT_TRUE(side.pusher->take_notices().empty());
    expect_equal_files();
}

TEST_F(PusherTest, SignsOfLifeGoOnWhileMuchIsSharedAgain) {
    live_before();
    auto side = start_small(runs + 1);
    ASSERT_TRUE(settle(side));
    const auto before = side.log->position();
    // The share is rolled back: HEAD and most segments are of long ago.
    for (std::uint64_t run = 2; run <= runs + 1; ++run) {
        std::filesystem::remove(shared_file(file_of(run)));
        std::filesystem::remove(shared_file(eventlog::head_name(Incarnation(run))));
    }
    say(side, "new");
    std::uint64_t counter = 0;
    int signs = 0;
    for (;;) {
        const auto slot = one_step(side, true);
        ASSERT_TRUE(slot) << slot.error().message;
        ASSERT_TRUE(*slot);
        EXPECT_GT((*slot)->counter, counter);
        counter = (*slot)->counter;
        if (!side.pusher->busy()) {
            EXPECT_EQ((*slot)->last_seq, side.log->position().seq);
            break;
        }
        EXPECT_EQ(eventlog::position_of(**slot), before);  // it never falls
        ++signs;
    }
    EXPECT_GT(signs, runs);
    EXPECT_TRUE(told(side.pusher->take_notices(), mirror::rolled_back));
    expect_equal_files();
}

TEST_F(PusherTest, AStepThatFailsIsGoneOnWith) {
    live_before();
    std::filesystem::remove_all(at("log/nova.worker"));
    auto side = start_small(runs + 1);
    int failed = 0;
    for (int steps = 0;; ++steps) {
        counting_->puts_that_fail = steps % 3 == 0 ? 1 : 0;
        const auto slot = one_step(side, false);
        failed += slot ? 0 : 1;
        EXPECT_TRUE(slot || !side.pusher->busy());  // the next one may wait
        if (slot && *slot) {
            break;
        }
        ASSERT_LT(steps, 1000);
    }
    EXPECT_GT(failed, 3);
    expect_equal_files();
}

TEST_F(PusherTest, WhatIsPutAndNotDeclaredIsNobodysAndSetAside) {
    auto first = start("one", nova, 1);
    say(first, "declared");
    ASSERT_TRUE(push(first));
    const auto declared = first.log->position().end.v;
    std::filesystem::copy(dir / "one", dir / "restored", std::filesystem::copy_options::recursive);
    say(first, "put, and not declared");
    const auto whole =
        read_text(first.directory() + "/" + file_of(1)).substr(0, first.log->position().end.v);
    write_text(shared_file(file_of(1)), whole);
    auto second = start("restored", nova, 2);  // its disk forgot the last batch
    ASSERT_TRUE(settle(second));
    EXPECT_TRUE(told(second.pusher->take_notices(), "log.quarantined"));
    EXPECT_EQ(read_text(shared_file(file_of(1))).size(), declared);
    auto other = start("two", mira, 1);
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
}

TEST_F(PusherTest, ASegmentThatOurKeySignedAndWeDidNotWriteReplacesUs) {
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / "one", dir / "clone", std::filesystem::copy_options::recursive);
    auto second = start("one", nova, 2);
    salt_ = 100;
    auto clone = start("clone", nova, 2);  // the same number, without having asked
    say(second, "one");
    say(clone, "other");
    const auto end = clone.log->position().end.v;
    write_text(shared_file(file_of(2)),
               read_text(clone.directory() + "/" + file_of(2)).substr(0, end));
    EXPECT_EQ(push(second).error().code, Code::replaced);
    EXPECT_FALSE(std::filesystem::exists(at("log/nova.worker/quarantine")));
}

// A copy begins while the original shares on: what HEAD declares then is in no history of the copy,
// which must say so and not take it for damage of its own.
TEST_F(PusherTest, WhoSharedOnBehindOurBeginningReplacesUs) {
    auto first = start("one", nova, 1);
    say(first, "both know this");
    ASSERT_TRUE(push(first));
    std::filesystem::copy(dir / "one", dir / "clone", std::filesystem::copy_options::recursive);
    salt_ = 100;
    auto clone = start("clone", nova, 2);
    say(clone, "other");
    say(first, "one");
    ASSERT_TRUE(push(first));
    const auto pushed = push(clone);
    ASSERT_FALSE(pushed);
    EXPECT_EQ(pushed.error().code, Code::replaced) << pushed.error().message;
}

}  // namespace
}  // namespace reeve::testing
