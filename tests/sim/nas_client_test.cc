// What the share does to its clients, what a machine's own disk does, and what happens to machines:
// each fault of faults.h by itself.

#include <gtest/gtest.h>

#include "tests/sim/seeds.h"
#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

class SimNas : public testing::Test {
protected:
    void begin(Faults faults, std::uint64_t seed = 1) {
        world_.reset();
        scheduler_ = std::make_unique<Scheduler>(seed);
        world_ = std::make_unique<World>(*scheduler_, faults);
        nova_ = &world_->add_node("nova");
        orion_ = &world_->add_node("orion");
    }
    Process& program(Node& node, std::function<void(env::Env&)> main) {
        return world_->start(node, "worker", std::move(main));
    }
    void run() {
        const auto outcome = scheduler_->run();
        ASSERT_FALSE(outcome.failure) << scheduler_->report();
    }
    std::uint64_t counted(const std::string& what) const {
        const auto found = world_->coverage().find(what);
        return found == world_->coverage().end() ? 0 : found->second;
    }
    /// What the server holds, past all clients.
    std::string held(const std::string& path) {
        const auto file = world_->nas().open(path, env::OpenMode::read, WallTime{});
        Bytes bytes(file ? world_->nas().size(*file) : 0);
        if (file) {
            world_->nas().read(*file, 0, bytes);
        }
        return std::string(as_text(bytes));
    }

    std::unique_ptr<Scheduler> scheduler_;
    std::unique_ptr<World> world_;
    Node* nova_ = nullptr;
    Node* orion_ = nullptr;
};

void rest(env::Env& env, Duration d) { env.tasks.sleep_until(env.clock.mono_now() + d); }

std::unique_ptr<env::File> opened(env::Env& env, const char* path, env::OpenMode mode) {
    auto file = env.files.open(path, mode);
    EXPECT_TRUE(file);
    return std::move(*file);
}

TEST_F(SimNas, WhatIsWrittenIsTheClientsOwnUntilASyncOrAClose) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        auto file = opened(env, "/nas/a", env::OpenMode::create);
        ASSERT_TRUE(file->write_at(Offset(0), as_bytes("abc")));
        EXPECT_EQ(held("/nas/a"), "");
        EXPECT_EQ(*file->size(), 3U);
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "");
        std::array<std::uint8_t, 3> back{};
        EXPECT_EQ(*file->read_at(Offset(0), back), 3U);
        EXPECT_EQ(back[2], 'c');
        ASSERT_TRUE(file->sync());
        EXPECT_EQ(held("/nas/a"), "abc");
        ASSERT_TRUE(file->write_at(Offset(3), as_bytes("d")));
        file.reset();
        EXPECT_EQ(held("/nas/a"), "abcd");
    });
    run();
}

TEST_F(SimNas, AServerThatRestartsLosesWhatNobodySynced) {
    int lost = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        begin(Faults::none(), seed);
        program(*nova_, [&](env::Env& env) {
            ASSERT_TRUE(env.files.replace_file("/nas/synced", as_bytes("abc"), true));
            ASSERT_TRUE(env.files.replace_file("/nas/closed", as_bytes("abc"), false));
            EXPECT_EQ(held("/nas/closed"), "abc");
            auto open = opened(env, "/nas/open", env::OpenMode::create);
            ASSERT_TRUE(open->write_at(Offset(0), as_bytes("abc")));
            const auto before = env.clock.mono_now();
            world_->restart_nas(seconds(20));
            ASSERT_TRUE(open->sync());  // a client sends again what the server has lost
            EXPECT_GE(env.clock.mono_now() - before, seconds(20));
            EXPECT_EQ(held("/nas/synced"), "abc");
            EXPECT_EQ(held("/nas/open"), "abc");
            lost += held("/nas/closed") == "abc" ? 0 : 1;
        });
        run();
    }
    EXPECT_GT(lost, 5);
}

TEST_F(SimNas, PagesThatAreSentInAnyOrderLeaveHolesForTheOthers) {
    begin({.writeback_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        bool hole = false;
        for (int i = 0; i < 20; ++i) {
            const auto path = "/nas/" + std::to_string(i);
            auto file = opened(env, path.c_str(), env::OpenMode::create);
            ASSERT_TRUE(file->write_at(Offset(0), Bytes(20'000, std::uint8_t{1})));
            const auto seen = held(path);
            hole = hole || (!seen.empty() && seen.front() == 0);
            ASSERT_TRUE(file->sync());
            EXPECT_EQ(held(path), std::string(20'000, 1));
        }
        EXPECT_TRUE(hole);
    });
    run();
    EXPECT_GT(counted("zero hole"), 0U);
}

TEST_F(SimNas, AReplacedNameMayOpenTheFileOfBeforeForSomeSeconds) {
    begin({.stale_name_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.replace_file("/nas/a", as_bytes("old"), true));
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "old");
        rest(env, milliseconds(500));
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "old");
        rest(env, seconds(3));
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "new");
    });
    program(*orion_, [&](env::Env& env) {
        rest(env, milliseconds(300));
        ASSERT_TRUE(env.files.replace_file("/nas/a", as_bytes("new"), true));
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "new");
    });
    run();
}

TEST_F(SimNas, AttributesAreThoseOfSomeSecondsAgoAlsoOfAFileThatIsGone) {
    begin({.stale_attributes_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.replace_file("/nas/a", as_bytes("old"), true));
        EXPECT_EQ(env.files.info("/nas/a")->size, 3U);
        ASSERT_TRUE(world_->nas().remove("/nas/a"));
        EXPECT_EQ(env.files.info("/nas/a")->size, 3U);
        EXPECT_FALSE(env.files.open("/nas/a", env::OpenMode::read));
        rest(env, seconds(4));
        EXPECT_FALSE(env.files.info("/nas/a"));
    });
    run();
}

TEST_F(SimNas, AnOpenFileSeemsToEndWhereItEndedAndThenHasZerosThere) {
    begin({.stale_attributes_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        auto file = opened(env, "/nas/a", env::OpenMode::create);
        ASSERT_TRUE(file->write_at(Offset(0), as_bytes("abc")));
        ASSERT_TRUE(file->sync());
        rest(env, seconds(1));
        ASSERT_TRUE(file->write_at(Offset(3), as_bytes("def")));
        ASSERT_TRUE(file->sync());
    });
    program(*orion_, [&](env::Env& env) {
        rest(env, milliseconds(500));
        auto file = opened(env, "/nas/a", env::OpenMode::read);
        std::array<std::uint8_t, 10> bytes{};
        rest(env, seconds(1));
        EXPECT_EQ(*file->size(), 3U);
        EXPECT_EQ(*file->read_at(Offset(0), bytes), 3U);
        rest(env, seconds(3));
        EXPECT_EQ(*file->read_at(Offset(0), bytes), 6U);
        EXPECT_EQ(bytes[2], 'c');
        EXPECT_EQ(bytes[3], 0);  // the page was cached when the file ended there
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "abcdef");  // a fresh open
    });
    run();
    EXPECT_GT(counted("stale size"), 0U);
    EXPECT_GT(counted("zero tail"), 0U);
}

TEST_F(SimNas, ARepeatedRequestHappensASecondTimeLater) {
    begin({.repeat_permille = 1000});
    program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.make_dirs("/nas/d"));
        ASSERT_TRUE(env.files.remove_dir("/nas/d"));
        bool again = false;
        for (int i = 0; i < 100; ++i) {
            rest(env, milliseconds(500));
            again = again || world_->nas().info("/nas/d").has_value();
        }
        EXPECT_TRUE(again);
    });
    run();
}

TEST_F(SimNas, ErrorsForAWhileMeetWhatTheyAreAbout) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        const auto storm = [&](Storm one) {
            world_->weather().clear();
            world_->add_front(one, nova_->client, seconds(1000));
        };
        ASSERT_TRUE(env.files.replace_file("/nas/a", as_bytes("abc"), true));
        storm(Storm::io);
        EXPECT_EQ(env.files.list("/nas").error().code, Code::io);
        storm(Storm::full);
        EXPECT_TRUE(env.files.list("/nas"));
        EXPECT_EQ(env.files.link("/nas/a", "/nas/b").error().code, Code::full);
        EXPECT_EQ(*env.files.free_bytes("/nas"), 0U);
        auto file = opened(env, "/nas/a", env::OpenMode::write);
        ASSERT_TRUE(file->write_at(Offset(3), as_bytes("d")));  // told at the sync
        EXPECT_EQ(file->sync().error().code, Code::full);
        EXPECT_EQ(file->write_at(Offset(3), as_bytes("d")).error().code, Code::io);  // poisoned
        storm(Storm::read_only);
        EXPECT_TRUE(env.files.read_file("/nas/a", 10));
        EXPECT_EQ(env.files.remove("/nas/a").error().code, Code::io);
        storm(Storm::stale);
        EXPECT_EQ(env.files.read_file("/nas/a", 10).error().code, Code::io);
        world_->weather().clear();
        EXPECT_EQ(held("/nas/a"), "abc");
        EXPECT_FALSE(env.files.info("/nas/b"));
    });
    run();
}

TEST_F(SimNas, AMissingMountIsAnEmptyDirectoryOfThatMachine) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.make_dirs("/nas/reeve"));
        world_->add_front(Storm::unmounted, nova_->client, seconds(10));
        EXPECT_EQ(env.files.list("/nas")->size(), 0U);
        EXPECT_TRUE(env.files.make_dirs("/nas/wrong"));  // it is writable
        rest(env, seconds(11));
        EXPECT_TRUE(env.files.info("/nas/reeve"));
        EXPECT_FALSE(env.files.info("/nas/wrong"));
        EXPECT_TRUE(nova_->mount_point.info("/nas/wrong"));
    });
    run();
}

TEST_F(SimNas, ARollbackTakesNamesAndBytesAndOpenHandles) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.replace_file("/nas/a", as_bytes("old"), true));
        const auto snapshot = world_->nas().state();
        auto file = opened(env, "/nas/a", env::OpenMode::write);
        ASSERT_TRUE(file->write_at(Offset(0), as_bytes("new")));
        ASSERT_TRUE(file->sync());
        ASSERT_TRUE(env.files.link("/nas/a", "/nas/b"));
        world_->put_nas_back(*snapshot);
        EXPECT_EQ(held("/nas/a"), "old");
        EXPECT_FALSE(env.files.info("/nas/b"));
        EXPECT_FALSE(file->write_at(Offset(0), as_bytes("new")) && file->sync());
        EXPECT_EQ(held("/nas/a"), "old");
        world_->empty_nas();
        EXPECT_EQ(env.files.list("/nas")->size(), 0U);
        world_->put_nas_back(*snapshot);
        EXPECT_EQ(as_text(*env.files.read_file("/nas/a", 10)), "old");
    });
    run();
}

TEST_F(SimNas, AFullDiskTakesNothingThatGrows) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        auto file = opened(env, "/local/nova/a", env::OpenMode::create);
        ASSERT_TRUE(file->resize(10));
        world_->add_front(Storm::disk_full, nova_->client, seconds(1));
        EXPECT_TRUE(file->write_at(Offset(0), as_bytes("abc")));
        EXPECT_EQ(file->write_at(Offset(9), as_bytes("abc")).error().code, Code::full);
        EXPECT_EQ(env.files.make_dirs("/local/nova/d").error().code, Code::full);
        EXPECT_EQ(env.files.replace_file("/local/nova/b", as_bytes("b"), true).error().code,
                  Code::full);
        EXPECT_EQ(*env.files.free_bytes("/local/nova"), 0U);
        EXPECT_TRUE(env.files.make_dirs("/nas/d"));
        rest(env, seconds(1));
        EXPECT_TRUE(env.files.make_dirs("/local/nova/d"));
    });
    run();
}

TEST_F(SimNas, ALocalDiskThatFailsLeavesAPrefix) {
    bool part = false;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        begin(Faults::none(), seed);
        program(*nova_, [&](env::Env& env) {
            auto file = opened(env, "/local/nova/a", env::OpenMode::create);
            world_->set_faults({.local_io_permille = 1000});
            EXPECT_EQ(file->write_at(Offset(0), Bytes(100, 1)).error().code, Code::io);
            std::uint8_t byte = 0;
            EXPECT_EQ(file->read_at(Offset(0), {&byte, 1}).error().code, Code::io);
            const auto size = nova_->disk.info("/local/nova/a")->size;
            part = part || (size > 0 && size < 100);
        });
        run();
    }
    EXPECT_TRUE(part);
}

TEST_F(SimNas, APausedProcessGoesOnInTheMiddleOfItsCall) {
    begin(Faults::none());
    MonoTime linked;
    auto& process = program(*nova_, [&](env::Env& env) {
        ASSERT_TRUE(env.files.make_dirs("/nas/d"));
        linked = scheduler_->now();
        const auto box = env.tasks.make_wait_point();
        EXPECT_FALSE(box->wait_until(env.clock.mono_now() + seconds(1)));
        EXPECT_GE(env.clock.mono_now(), MonoTime{} + seconds(40));
    });
    program(*orion_, [&](env::Env& env) {
        world_->pause(process, seconds(10));
        rest(env, seconds(1));
        EXPECT_FALSE(world_->nas().info("/nas/d"));
        rest(env, seconds(9) + milliseconds(500));
        EXPECT_TRUE(world_->nas().info("/nas/d"));
        world_->pause(*nova_, seconds(30));
    });
    run();
    EXPECT_GE(linked, MonoTime{} + seconds(10));
}

TEST_F(SimNas, AWallClockStepsDriftsAndStands) {
    begin(Faults::none());
    program(*nova_, [&](env::Env& env) {
        const auto off = [&] { return (env.clock.wall_now() - world_->true_time()).count(); };
        nova_->wall.offset_ms = 3'600'000;
        EXPECT_NEAR(static_cast<double>(off()), 3'600'000, 1);
        nova_->wall = {.drift_ppm = 10'000, .since = scheduler_->now()};
        rest(env, seconds(100));
        EXPECT_NEAR(static_cast<double>(off()), 1000, 2);
        nova_->wall = {.stands_at = world_->true_time()};
        rest(env, seconds(5));
        EXPECT_NEAR(static_cast<double>(off()), -5000, 2);
    });
    run();
}

}  // namespace
}  // namespace reeve::sim
