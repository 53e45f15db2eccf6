// Whole clusters of five nodes, one a seed: people, work and trouble, then rest, then every check
// of checks.cc. A failure prints the seed and how to tell its story.
//
//   REEVE_SIM_SEED=N     only this one
//   REEVE_SIM_SEEDS=N    so many, from 1

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "projection/spec_rules.h"
#include "tests/sim/checks.h"
#include "tests/sim/many.h"
#include "tests/sim/scenario.h"
#include "tests/sim/seeds.h"
#include "tests/sim/workload.h"

namespace reeve::sim {
namespace {

// In each of the two every row of the table happens.
constexpr std::uint64_t usual_seeds = 100;
constexpr std::uint64_t usual_hours = 300;

std::string told(const RunResult& run, std::uint64_t seed, std::int64_t minutes) {
    std::string out;
    for (const auto& one : run.violations) {
        out += "  " + one + "\n";
    }
    out += "the last of its story:\n";
    const std::size_t from = run.story.size() > 40 ? run.story.size() - 40 : 0;
    for (auto i = from; i < run.story.size(); ++i) {
        out += "  " + run.story[i] + "\n";
    }
    return out + run.report + "\nagain, in words: tools/sim --story --seed " +
           std::to_string(seed) + (minutes > 0 ? " --minutes " + std::to_string(minutes) : "");
}

/// For so many minutes of virtual time each at least; 0: for as many as the seed says.
void expect_that_all_hold(const std::vector<std::uint64_t>& all, std::int64_t minutes) {
    Coverage coverage;
    std::size_t executed = 0;
    run_many(
        all, 0,
        [minutes](std::uint64_t seed) {
            auto plan = Plan::of(seed);
            if (minutes > 0) {
                plan.last(minutes * 60);
            }
            const auto run = run_cluster(plan, {});
            const bool failed = !run.violations.empty();
            return RunSummary{failed ? told(run, seed, minutes) : "", failed, run.executions,
                              run.coverage};
        },
        [&](std::uint64_t seed, const RunSummary& outcome) {
            EXPECT_FALSE(outcome.failed) << "seed " << seed << "\n" << outcome.text;
            add(coverage, outcome.coverage);
            executed += outcome.executions;
            return !outcome.failed;
        });
    EXPECT_GT(executed, 0U);
    if (enough_for_coverage(all.size())) {
        EXPECT_EQ(never_happened(coverage), std::vector<std::string>{});
    }
}

TEST(SimCluster, InvariantsHoldWhateverGoesWrongAndItComesToRest) {
    expect_that_all_hold(seeds(usual_seeds), 0);
}

TEST(SimHours, InvariantsHoldForAnHour) { expect_that_all_hold(seeds(usual_hours), 60); }

class SupervisorWithAMistake : public testing::TestWithParam<std::pair<ExecMistake, std::string>> {
};

TEST_P(SupervisorWithAMistake, IsCaught) {
    std::vector<std::string> seen;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        auto plan = Plan::of(seed);
        plan.mistake = GetParam().first;
        plan.kills = 200;
        plan.trouble_s = 120;
        plan.most_rest_s = 300;
        for (const auto& one : run_cluster(plan, {}).violations) {
            seen.push_back(one);
            if (one.starts_with(GetParam().second)) {
                return;
            }
        }
    }
    FAIL() << GetParam().second << " was never violated; seen: " << testing::PrintToString(seen);
}

INSTANTIATE_TEST_SUITE_P(SimCluster, SupervisorWithAMistake,
                         testing::Values(std::pair(ExecMistake::runs_again, std::string("I2")),
                                         std::pair(ExecMistake::forgets_outcomes,
                                                   std::string("I11"))));

/// One job without retry, on a node that then loses its disk. Says what was done with it.
void lose_a_disk(World& world, Cluster& cluster, Node& desk) {
    auto& founder = world.start(desk, "init", [&](env::Env& env) { CHECK(cluster.found(env)); });
    world.wait_ended(founder);
    cluster.start();
    world.sleep(seconds(20));
    auto& person = world.start(desk, "person", [&](env::Env& env) {
        const nlohmann::json body{{"verb", "submit"},
                                  {"documents", {R"({"argv":["/bin/work","120000","0","5"]})"}}};
        EXPECT_TRUE(ask(cluster, env, "mira", body).value("ok", false));
    });
    world.wait_ended(person);
    world.sleep(seconds(15));
    ASSERT_EQ(cluster.truth().executions.size(), 1U);
    cluster.lose_disk(cluster.machine(cluster.truth().executions.front().node));
    world.sleep(seconds(600));
}

// Its log comes back from the share; what it had begun must not begin again (I2), nor be called
// something that never ran: with the disk went every local claim that could say so.
TEST(SimCluster, AWorkerThatLostItsDiskRunsNothingAgain) {
    Scheduler scheduler(1);
    World world(scheduler, Faults::none());
    Truth truth(scheduler);
    Cluster cluster(world, truth, {.workers = {"mira", "nova"}, .coordinator = "", .timing = {}});
    auto& desk = world.add_node("desk");
    std::string state;
    scheduler.spawn(stage_group, "director", [&] {
        lose_a_disk(world, cluster, desk);
        const auto view = cluster.view(*cluster.daemons().front());
        view.jobs(false, [&](const JobId&, const projection::JobRow& row) {
            const auto rules = projection::rules_of_document(row.submission()->document);
            state = projection::state_name(projection::situation_of(row, rules).state);
            return true;
        });
        cluster.close();
    });
    const auto outcome = scheduler.run();
    EXPECT_FALSE(outcome.failure) << scheduler.report();
    EXPECT_EQ(truth.executions.size(), 1U) << testing::PrintToString(truth.story());
    EXPECT_EQ(state, "lost") << testing::PrintToString(truth.story());
}

/// What becomes of a node at the moment at which it begins to execute what it has claimed: its
/// start is durable there, and on no other disk.
enum class Fate : std::uint8_t { loses_its_disk, was_cloned };

/// A job without retry, taken by the coordinator: whoever runs it has claimed it.
void claim_and(Fate fate, World& world, Cluster& cluster, Node& desk) {
    auto& founder = world.start(desk, "init", [&](env::Env& env) { CHECK(cluster.found(env)); });
    world.wait_ended(founder);
    cluster.start();
    world.sleep(seconds(20));
    if (fate == Fate::was_cloned) {
        cluster.clone(cluster.machine("mira"), seconds(60));
        cluster.clone(cluster.machine("nova"), seconds(60));
    }
    auto& person = world.start(desk, "person", [&](env::Env& env) {
        const nlohmann::json body{{"verb", "submit"},
                                  {"documents", {R"({"argv":["/bin/work","200000","0","5"]})"}}};
        EXPECT_TRUE(ask(cluster, env, "atlas", body).value("ok", false));
    });
    while (cluster.truth().executions.empty()) {
        world.sleep(std::chrono::microseconds(100));
    }
    auto& machine = cluster.machine(cluster.truth().executions.front().node);
    if (fate == Fate::loses_its_disk) {
        cluster.lose_disk(machine);
    } else {
        world.add_front(Storm::hang, machine.node.client, seconds(120));
    }
    world.wait_ended(person);
    world.sleep(seconds(900));
}

class OnlyItsDiskKnows : public testing::TestWithParam<Fate> {};

// Who stands there afterwards, with another disk, finds a claim of its own that its log does not
// explain. That nothing ran, it does not know (I2).
TEST_P(OnlyItsDiskKnows, WhatRanRunsNowhereElse) {
    Scheduler scheduler(1);
    World world(scheduler, Faults::none());
    Truth truth(scheduler);
    Cluster cluster(world, truth,
                    {.workers = {"mira", "nova"}, .coordinator = "atlas", .timing = {}});
    auto& desk = world.add_node("desk");
    scheduler.spawn(stage_group, "director", [&] {
        claim_and(GetParam(), world, cluster, desk);
        cluster.close();
    });
    const auto outcome = scheduler.run();
    EXPECT_FALSE(outcome.failure) << scheduler.report();
    EXPECT_EQ(truth.executions.size(), 1U) << testing::PrintToString(truth.story());
    EXPECT_EQ(truth.violations(), std::vector<std::string>())
        << testing::PrintToString(truth.story());
}

INSTANTIATE_TEST_SUITE_P(SimCluster, OnlyItsDiskKnows,
                         testing::Values(Fate::loses_its_disk, Fate::was_cloned));

void submit_at(World& world, Cluster& cluster, Node& desk, const std::string& node,
               const std::string& document) {
    auto& person = world.start(desk, "person", [&](env::Env& env) {
        const nlohmann::json body{{"verb", "submit"}, {"documents", {document}}};
        EXPECT_TRUE(ask(cluster, env, node, body).value("ok", false));
    });
    world.wait_ended(person);
}

void drain(World& world, Cluster& cluster, Node& desk, const std::string& node) {
    auto& person = world.start(desk, "person", [&](env::Env& env) {
        const nlohmann::json body{
            {"verb", "switch"}, {"name", "drain/" + node}, {"value", "on"}, {"reason", "scene"}};
        EXPECT_TRUE(ask(cluster, env, node, body).value("ok", false));
    });
    world.wait_ended(person);
}

/// The share is put back behind what nova has shared and the others have mirrored, and nova's disk
/// is lost: nobody who could say so holds what it had said. Two jobs of nova, one on each side.
void lose_a_disk_behind_a_rollback(World& world, Cluster& cluster, Node& desk) {
    auto& founder = world.start(desk, "init", [&](env::Env& env) { CHECK(cluster.found(env)); });
    world.wait_ended(founder);
    cluster.start();
    world.sleep(seconds(20));
    drain(world, cluster, desk, "mira");  // or it may be the one that runs them
    world.sleep(seconds(5));
    submit_at(world, cluster, desk, "nova", R"({"argv":["/bin/work","1000","0","5"]})");
    world.sleep(seconds(30));
    const auto before = world.nas().state();
    submit_at(world, cluster, desk, "nova", R"({"argv":["/bin/work","1000","0","6"]})");
    world.sleep(seconds(30));
    ASSERT_EQ(cluster.truth().executions.size(), 2U);
    cluster.lose_disk(cluster.machine("nova"));
    world.put_nas_back(*before);
    world.sleep(seconds(300));
}

// V9 (docs/simulation.md). Who starts there does not wait for mirrors that hold more than the
// share shows: it goes on from where that ends, which is another history. Every view is cut, its
// writer stops, an operator decides, and the log goes on. Nothing runs twice.
TEST(SimCluster, ADiskLostBehindARollbackIsAForkThatAnOperatorEnds) {
    Scheduler scheduler(1);
    World world(scheduler, Faults::none());
    Truth truth(scheduler);
    Cluster cluster(world, truth,
                    {.workers = {"mira", "nova"}, .coordinator = "atlas", .timing = {}});
    auto& desk = world.add_node("desk");
    std::string unrest_left;
    std::vector<std::size_t> jobs_known;
    scheduler.spawn(stage_group, "director", [&] {
        lose_a_disk_behind_a_rollback(world, cluster, desk);
        auto& nova = cluster.machine("nova");
        EXPECT_EQ(nova.daemons.front()->exit, 11);
        for (int i = 0; i < 10 && !nova.daemons.front()->up(); ++i) {
            cluster.rescue(nova);
            world.sleep(seconds(60));
        }
        world.sleep(seconds(60));
        unrest_left = unrest(cluster);
        for (auto* daemon : cluster.daemons()) {
            jobs_known.push_back(0);
            cluster.view(*daemon).jobs(false, [&](const JobId&, const projection::JobRow&) {
                ++jobs_known.back();
                return true;
            });
        }
        cluster.close();
    });
    const auto outcome = scheduler.run();
    EXPECT_FALSE(outcome.failure) << scheduler.report();
    EXPECT_EQ(unrest_left, "");
    EXPECT_EQ(truth.executions.size(), 2U);  // I2
    // Of the second job the mirrors hold bytes behind the cut, and nobody says them again.
    EXPECT_EQ(jobs_known, std::vector<std::size_t>(3, 1));
    EXPECT_EQ(truth.violations(),
              std::vector<std::string>{"I6: nova.worker was replaced, and nobody is its clone"})
        << testing::PrintToString(truth.story());
}

TEST(SimCluster, ASeedIsTheSameRunTwice) {
    for (const std::uint64_t seed : {3U, 5U}) {
        auto plan = Plan::of(seed);
        plan.trouble_s = 60;
        plan.jobs = 8;
        const auto one = run_cluster(plan, {});
        const auto two = run_cluster(plan, {});
        EXPECT_EQ(one.digest, two.digest) << "seed " << seed;
        EXPECT_EQ(one.steps, two.steps) << "seed " << seed;
        EXPECT_EQ(one.story, two.story) << "seed " << seed;
    }
}

}  // namespace
}  // namespace reeve::sim
