#include "tests/sim/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/sim/seeds.h"
#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

/// Three processes that sleep, write, read and post to each other's tasks: enough to differ by
/// seed.
Outcome busy_run(std::uint64_t seed, Backend backend) {
    Scheduler scheduler(seed, backend);
    World world(scheduler, Faults::of(scheduler.random()));
    for (const auto* name : {"nova", "orion", "vega"}) {
        auto& node = world.add_node(name, 10);
        world.start(node, "worker", [home = "/local/" + node.name](env::Env& env) {
            const auto box = std::make_shared<env::Mailbox<int>>(env.tasks, 100);
            env.tasks.spawn("reader", [box, &env] {
                for (int got = 0; got < 20;) {
                    got +=
                        static_cast<int>(box->take_all(env.clock.mono_now() + seconds(1)).size());
                }
            });
            for (int i = 0; i < 20; ++i) {
                const Bytes bytes(static_cast<std::size_t>(i), std::uint8_t{7});
                static_cast<void>(env.files.replace_file(home + "/file", bytes, i % 2 == 0));
                static_cast<void>(env.files.link(home + "/file", home + "/" + std::to_string(i)));
                static_cast<void>(env.files.replace_file("/nas/file", bytes, true));
                ASSERT_TRUE(box->push(i));
            }
        });
    }
    scheduler.spawn(stage_group, "chaos",
                    [&] { world.sleep(milliseconds(scheduler.random().between(1, 50))); });
    return scheduler.run();
}

TEST(Scheduler, TheSameSeedIsTheSameRunAndAnotherSeedIsAnother) {
    const auto once = busy_run(7, Backend::fibers);
    const auto again = busy_run(7, Backend::fibers);
    const auto other = busy_run(8, Backend::fibers);
    EXPECT_FALSE(once.failure) << *once.failure;
    EXPECT_GT(once.steps, 500U);
    EXPECT_EQ(once.digest, again.digest);
    EXPECT_EQ(once.steps, again.steps);
    EXPECT_NE(once.digest, other.digest);
}

TEST(Scheduler, FibersAndThreadsGiveTheSameRun) {
    for (const auto seed : seeds(10)) {
        const auto fibers = busy_run(seed, Backend::fibers);
        const auto threads = busy_run(seed, Backend::threads);
        EXPECT_EQ(fibers.digest, threads.digest) << "seed " << seed;
        EXPECT_EQ(fibers.end, threads.end) << "seed " << seed;
    }
}

TEST(Scheduler, ALongTimeoutTakesNoTime) {
    Scheduler scheduler(1);
    World world(scheduler, Faults::none());
    std::optional<int> first;
    std::optional<int> second;
    Duration waited(0);
    world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        const auto box = std::make_shared<env::Mailbox<int>>(env.tasks, 4);
        env.tasks.spawn("sender", [box, &env] {
            env.tasks.sleep_until(env.clock.mono_now() + seconds(15));
            ASSERT_TRUE(box->push(42));
        });
        const auto start = env.clock.mono_now();
        first = box->take(start + seconds(10));
        waited = env.clock.mono_now() - start;
        second = box->take(MonoTime::never());
    });
    const auto before = std::chrono::steady_clock::now();
    const auto outcome = scheduler.run();
    EXPECT_FALSE(outcome.failure) << scheduler.report();
    EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(5));
    EXPECT_EQ(first, std::nullopt);
    EXPECT_GE(waited, seconds(10));
    EXPECT_LT(waited, seconds(11));
    EXPECT_EQ(second, 42);
}

TEST(Scheduler, AMailboxThatIsFullSaysSo) {
    Scheduler scheduler(1);
    World world(scheduler, Faults::none());
    world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        env::Mailbox<int> box(env.tasks, 2);
        EXPECT_TRUE(box.push(1));
        EXPECT_TRUE(box.push(2));
        const auto third = box.push(3);
        ASSERT_FALSE(third);
        EXPECT_EQ(third.error().code, Code::full);
        EXPECT_EQ(box.take_all(MonoTime::never()), (std::vector<int>{1, 2}));
        EXPECT_TRUE(box.take_all(env.clock.mono_now() + seconds(1)).empty());
    });
    EXPECT_FALSE(scheduler.run().failure) << scheduler.report();
}

struct Marked {
    std::vector<std::string>& out;
    std::string name;
    ~Marked() { out.push_back(name); }
};

class KilledTask : public testing::TestWithParam<Backend> {};

TEST_P(KilledTask, UnwindsWithItsDestructorsLatestFirstAndTakesNoTime) {
    Scheduler scheduler(3, GetParam());
    World world(scheduler, Faults::none());
    std::vector<std::string> ended;
    MonoTime at{0};
    bool went_on = false;
    auto& process = world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        const Marked mark{ended, "main"};
        env::Mailbox<int> box(env.tasks, 1);  // on this stack: the other task may not outlive it
        env.tasks.spawn("taker", [&] {
            const Marked inner{ended, "taker"};
            box.take(MonoTime::never());
            went_on = true;
        });
        env.tasks.spawn("sleeper", [&] {
            const Marked inner{ended, "sleeper"};
            env.tasks.sleep_until(env.clock.mono_now() + seconds(3600));
            went_on = true;
        });
        env.tasks.sleep_until(env.clock.mono_now() + seconds(3600));
        went_on = true;
    });
    scheduler.spawn(stage_group, "chaos", [&] {
        world.sleep(seconds(1));
        world.kill(process);
        at = scheduler.now();
        world.wait_ended(process);
        EXPECT_TRUE(process.ended());
    });
    const auto outcome = scheduler.run();
    EXPECT_FALSE(outcome.failure) << scheduler.report();
    EXPECT_EQ(ended, (std::vector<std::string>{"sleeper", "taker", "main"}));
    EXPECT_FALSE(went_on);
    EXPECT_LE(outcome.end - at, milliseconds(2));
}

INSTANTIATE_TEST_SUITE_P(Backends, KilledTask, testing::Values(Backend::fibers, Backend::threads));

TEST(Scheduler, ACallInADestructorOfAKilledTaskDoesNothingAndFails) {
    Scheduler scheduler(3);
    World world(scheduler, Faults::none());
    struct WritesWhenItDies {
        env::Env& env;
        std::optional<Code>& told;
        ~WritesWhenItDies() {
            const auto result = env.files.make_dirs("/local/nova/late");
            told = result ? std::nullopt : std::optional(result.error().code);
        }
    };
    std::optional<Code> told;
    auto& node = world.add_node("nova");
    auto& process = world.start(node, "worker", [&](env::Env& env) {
        const WritesWhenItDies it{env, told};
        env.tasks.sleep_until(MonoTime::never());
    });
    scheduler.spawn(stage_group, "chaos", [&] {
        world.sleep(seconds(1));
        world.kill(process);
    });
    EXPECT_FALSE(scheduler.run().failure) << scheduler.report();
    EXPECT_EQ(told, Code::cancelled);
    EXPECT_FALSE(node.disk.info("/local/nova/late"));
}

TEST(Scheduler, ADeadlockIsAFailureThatNamesWhoWaitsForWhat) {
    Scheduler scheduler(5);
    World world(scheduler, Faults::none());
    world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        env::Mailbox<int> box(env.tasks, 1);
        box.take(MonoTime::never());
    });
    const auto outcome = scheduler.run();
    ASSERT_TRUE(outcome.failure);
    EXPECT_NE(outcome.failure->find("deadlock"), std::string::npos);
    EXPECT_NE(outcome.failure->find("nova.worker#1/main stands in wait_until"), std::string::npos);
    EXPECT_NE(scheduler.report().find("seed 5"), std::string::npos);
}

TEST(Scheduler, AMutexHeldAcrossACallIsAFailure) {
    Scheduler scheduler(5);
    World world(scheduler, Faults::none());
    std::mutex mutex;
    world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        const std::lock_guard lock(mutex);
        env.clock.mono_now();
    });
    const auto outcome = scheduler.run();
    ASSERT_TRUE(outcome.failure);
    EXPECT_NE(outcome.failure->find("holds a mutex in mono_now"), std::string::npos);
}

TEST(Scheduler, ARunWithoutAnEndAndAnEscapedExceptionAreFailures) {
    Scheduler endless(5);
    World world(endless, Faults::none());
    world.start(world.add_node("nova"), "worker", [&](env::Env& env) {
        for (;;) {
            env.clock.mono_now();
        }
    });
    const auto outcome = endless.run(1000);
    ASSERT_TRUE(outcome.failure);
    EXPECT_NE(outcome.failure->find("no end after 1000 steps"), std::string::npos);

    Scheduler thrower(5);
    thrower.spawn(stage_group, "thrower", [] { throw std::runtime_error("oops"); });
    EXPECT_EQ(thrower.run().failure, "task thrower let an exception out: oops");
}

}  // namespace
}  // namespace reeve::sim
