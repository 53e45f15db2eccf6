// Whole clusters of five nodes, one a seed: people, work and trouble, then rest, then every check
// of checks.cc. A failure prints the seed and how to tell its story.
//
//   REEVE_SIM_SEED=N     only this one
//   REEVE_SIM_SEEDS=N    so many, from 1

#include <gtest/gtest.h>

#include "tests/sim/scenario.h"
#include "tests/sim/seeds.h"

namespace reeve::sim {
namespace {

constexpr std::uint64_t usual_seeds = 12;

std::string told(const RunResult& run, std::uint64_t seed) {
    std::string out;
    for (const auto& one : run.violations) {
        out += "  " + one + "\n";
    }
    out += "the last of its story:\n";
    const std::size_t from = run.story.size() > 40 ? run.story.size() - 40 : 0;
    for (auto i = from; i < run.story.size(); ++i) {
        out += "  " + run.story[i] + "\n";
    }
    return out + run.report + "\nagain, in words: tools/sim --story --seed " + std::to_string(seed);
}

TEST(SimCluster, InvariantsHoldWhateverGoesWrongAndItComesToRest) {
    Coverage coverage;
    std::size_t executed = 0;
    const auto all = seeds(usual_seeds);
    for (const auto seed : all) {
        const auto run = run_cluster(Plan::of(seed), {});
        ASSERT_TRUE(run.violations.empty()) << told(run, seed);
        add(coverage, run.coverage);
        executed += run.executions;
    }
    EXPECT_GT(executed, 0U);
    if (enough_for_coverage(all.size())) {
        for (const auto* what :
             {"kill", "crash", "stop", "supervisor killed", "supervisor stalls", "datagram lost",
              "lost reply", "nas io, done", "nas io, done later", "nas slow", "stale absence",
              "local sync failed", "request outlives its sender"}) {
            EXPECT_GT(coverage[what], 0U) << "never happened: " << what;
        }
    }
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
