// Each fault of the simulated world, one at a time.

#include "tests/sim/sim_env.h"

#include <gtest/gtest.h>

#include "tests/sim/seeds.h"

namespace reeve::sim {
namespace {

/// A world with one or two nodes and certain faults, and what a program saw in it.
class SimWorld : public testing::Test {
protected:
    void begin(Faults faults, std::uint64_t seed = 1) {
        world_.reset();
        scheduler_ = std::make_unique<Scheduler>(seed);
        world_ = std::make_unique<World>(*scheduler_, faults);
        nova_ = &world_->add_node("nova", 1500);
        orion_ = &world_->add_node("orion", -1500);
    }
    Process& program(Node& node, std::function<void(env::Env&)> main) {
        return world_->start(node, "worker", std::move(main));
    }
    void stage(std::function<void()> body) {
        scheduler_->spawn(stage_group, "stage", std::move(body));
    }
    void run() {
        const auto outcome = scheduler_->run();
        ASSERT_FALSE(outcome.failure) << scheduler_->report();
    }

    std::unique_ptr<Scheduler> scheduler_;
    std::unique_ptr<World> world_;
    Node* nova_ = nullptr;
    Node* orion_ = nullptr;
};

TEST_F(SimWorld, ALostReplyLiesAboutWhatWasDone) {
    begin({.lost_reply_permille = 1000});
    program(*nova_, [](env::Env& env) {
        ASSERT_TRUE(env.files.open("/nas/a", env::OpenMode::create));
        EXPECT_EQ(env.files.link("/nas/a", "/nas/b").error().code, Code::conflict);
        EXPECT_TRUE(env.files.info("/nas/b"));
        EXPECT_EQ(env.files.rename("/nas/b", "/nas/c").error().code, Code::not_found);
        EXPECT_TRUE(env.files.info("/nas/c"));
        EXPECT_EQ(env.files.remove("/nas/c").error().code, Code::not_found);
        EXPECT_EQ(env.files.list("/nas")->size(), 1U);
        EXPECT_EQ(env.files.open("/nas/d", env::OpenMode::create_new).error().code, Code::conflict);
        EXPECT_TRUE(env.files.make_dirs("/local/nova/d"));  // a local disk does not lie
        EXPECT_TRUE(env.files.remove_dir("/local/nova/d"));
    });
    run();
}

TEST_F(SimWorld, AFailedCallHappenedOrNotOrHappensLater) {
    std::map<std::string, int> seen;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        begin({.nas_io_permille = 1000}, seed);
        program(*nova_, [&](env::Env& env) {
            EXPECT_EQ(env.files.make_dirs("/nas/d").error().code, Code::io);
            const bool at_once = world_->nas().info("/nas/d").has_value();
            env.tasks.sleep_until(env.clock.mono_now() + seconds(60));
            const bool later = world_->nas().info("/nas/d").has_value();
            ++seen[at_once ? "at once" : later ? "later" : "never"];
        });
        run();
    }
    EXPECT_GT(seen["at once"], 5);
    EXPECT_GT(seen["later"], 5);
    EXPECT_GT(seen["never"], 5);
}

TEST_F(SimWorld, ANameAskedForTooEarlyStaysInvisibleToOpensOfThatMachineForAMinute) {
    begin({.stale_absence_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        EXPECT_EQ(env.files.read_file("/nas/x", 10).error().code, Code::not_found);
        env.tasks.sleep_until(env.clock.mono_now() + milliseconds(100));
        EXPECT_TRUE(world_->nas().info("/nas/x"));
        EXPECT_EQ(env.files.read_file("/nas/x", 10).error().code, Code::not_found);
        EXPECT_EQ(env.files.info("/nas/x").error().code, Code::not_found);
        EXPECT_EQ(env.files.list("/nas")->size(), 1U);
        env.tasks.sleep_until(env.clock.mono_now() + seconds(60));
        EXPECT_TRUE(env.files.read_file("/nas/x", 10));
    });
    program(*orion_, [](env::Env& env) {
        env.tasks.sleep_until(env.clock.mono_now() + milliseconds(50));
        EXPECT_TRUE(env.files.replace_file("/nas/x", as_bytes("hello"), true));
        EXPECT_EQ(as_text(*env.files.read_file("/nas/x", 10)), "hello");
        EXPECT_EQ(env.files.read_file("/nas/x", 4).error().code, Code::full);
    });
    run();
    EXPECT_GT(world_->coverage().at("stale absence"), 0U);
}

TEST_F(SimWorld, AFailedSyncPoisonsTheDescriptor) {
    begin({.local_sync_permille = 1000});
    program(*nova_, [](env::Env& env) {
        auto file = env.files.open("/local/nova/a", env::OpenMode::create);
        ASSERT_TRUE(file);
        ASSERT_TRUE((*file)->write_at(Offset(0), as_bytes("abc")));
        EXPECT_EQ((*file)->sync().error().code, Code::io);
        EXPECT_EQ((*file)->write_at(Offset(0), as_bytes("abc")).error().code, Code::io);
        EXPECT_EQ((*file)->sync().error().code, Code::io);
        std::uint8_t byte = 0;
        EXPECT_TRUE((*file)->read_at(Offset(0), {&byte, 1}));
    });
    run();
}

TEST_F(SimWorld, AKilledProcessLeavesWhatItWroteAndAMachineOnlyWhatWasSynced) {
    int lost_by_crash = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        begin(Faults::none(), seed);
        auto& process = program(*nova_, [](env::Env& env) {
            ASSERT_TRUE(env.files.replace_file("/local/nova/synced", as_bytes("abc"), true));
            ASSERT_TRUE(env.files.replace_file("/local/nova/written", as_bytes("abc"), false));
            env.tasks.sleep_until(MonoTime::never());
        });
        stage([&, crash = seed % 2 == 0] {
            world_->sleep(seconds(1));
            if (crash) {
                world_->crash(*nova_);
            } else {
                world_->kill(process);
            }
            world_->wait_ended(process);
            EXPECT_EQ(nova_->disk.info("/local/nova/synced")->size, 3U);
            const auto written = nova_->disk.info("/local/nova/written");
            const bool there = written && written->size == 3;
            EXPECT_TRUE(there || crash);
            lost_by_crash += there ? 0 : 1;
        });
        run();
    }
    EXPECT_GT(lost_by_crash, 5);
}

TEST_F(SimWorld, AWriteUnderWayLeavesAPrefixAndARequestToTheNasMayArriveLater) {
    bool prefix = false;
    bool arrived = false;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        begin(Faults::none(), seed);
        auto& process = program(*nova_, [](env::Env& env) {
            env.tasks.spawn("linker", [&env] {
                for (int i = 0;; ++i) {
                    static_cast<void>(env.files.make_dirs("/nas/" + std::to_string(i)));
                }
            });
            auto file = env.files.open("/local/nova/a", env::OpenMode::create);
            ASSERT_TRUE(file);
            for (std::uint64_t at = 0;; at += 1000) {
                ASSERT_TRUE((*file)->write_at(Offset(at), Bytes(1000, 1)));
            }
        });
        std::size_t on_nas = 0;
        stage([&] {
            world_->sleep(milliseconds(20));
            world_->kill(process);
            world_->wait_ended(process);
            on_nas = world_->nas().list("/nas")->size();
            prefix = prefix || nova_->disk.info("/local/nova/a")->size % 1000 != 0;
        });
        run();
        arrived = arrived || world_->nas().list("/nas")->size() > on_nas;
    }
    EXPECT_TRUE(prefix);
    EXPECT_TRUE(arrived);
}

TEST_F(SimWorld, AnOutageHoldsCallsOnTheNasAndNothingElse) {
    begin({.outages = 3, .outage_within_ns = 0});
    program(*nova_, [&](env::Env& env) {
        env.tasks.spawn("local", [&env] {
            const auto start = env.clock.mono_now();
            for (int i = 0; i < 10; ++i) {
                EXPECT_TRUE(env.files.list("/local/nova"));
            }
            EXPECT_LT(env.clock.mono_now() - start, milliseconds(10));
        });
        const auto left = world_->hang_left(*nova_);
        const auto start = env.clock.mono_now();
        EXPECT_TRUE(env.files.list("/nas"));
        EXPECT_GE(env.clock.mono_now() - start, left - milliseconds(1));
    });
    run();
}

TEST_F(SimWorld, AMachineHasItsOwnClockAndSeesNoOthersDisk) {
    begin(Faults::none());
    WallTime nova_time;
    WallTime orion_time;
    program(*nova_, [&](env::Env& env) {
        nova_time = env.clock.wall_now();
        EXPECT_EQ(env.files.list("/local/orion").error().code, Code::not_found);
        EXPECT_EQ(env.files.open("/etc/passwd", env::OpenMode::read).error().code, Code::not_found);
        EXPECT_FALSE(env.files.link("/nas/a", "/local/nova/a"));
        std::array<std::uint8_t, 16> nonce{};
        env.entropy.fill(nonce);
        EXPECT_NE(nonce, (std::array<std::uint8_t, 16>{}));
        env.telemetry.count("reeve_test_total", 2);
    });
    auto& process = program(*orion_, [&](env::Env& env) {
        orion_time = env.clock.wall_now();
        env.telemetry.count("reeve_test_total", 2);
        env.telemetry.count("reeve_test_total", 3);
        env.telemetry.log(env::Level::warning, "test", "a line");
    });
    run();
    EXPECT_GT(nova_time - orion_time, milliseconds(2900));
    EXPECT_EQ(process.telemetry().counter("reeve_test_total"), 5);
    EXPECT_EQ(process.telemetry().lines().back(), "warning test: a line");
}

}  // namespace
}  // namespace reeve::sim
