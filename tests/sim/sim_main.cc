// `tools/sim`: runs whole clusters in the simulator and tells what happened.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>

#include "tests/sim/scenario.h"

namespace reeve::sim {
namespace {

struct Options {
    std::uint64_t seed = 1;
    std::uint64_t seeds = 1;
    std::int64_t minutes = 0;
    bool story = false;
    bool shrink = false;
    std::vector<std::string> without;
};

Plan plan_of(std::uint64_t seed, const std::vector<std::string>& without) {
    auto plan = Plan::of(seed);
    for (const auto& what : without) {
        plan.without(what);
    }
    return plan;
}

void show(const RunResult& run, std::uint64_t seed, double cpu) {
    std::printf(
        "seed %llu: %s; %.1f virtual minutes, %llu steps, %.2f s; %zu accepted, %zu "
        "executed, trace %016llx\n",
        static_cast<unsigned long long>(seed), run.violations.empty() ? "holds" : "VIOLATED",
        static_cast<double>(run.end.ns) / 60e9, static_cast<unsigned long long>(run.steps), cpu,
        run.accepted, run.executions, static_cast<unsigned long long>(run.digest));
    for (const auto& one : run.violations) {
        std::printf("  %s\n", one.c_str());
    }
    std::fflush(stdout);
}

/// Leaves out what is not needed for the failure, one class after the other.
void shrink(std::uint64_t seed, std::vector<std::string> without) {
    for (const auto& what : Plan::classes()) {
        if (std::find(without.begin(), without.end(), what) != without.end()) {
            continue;
        }
        auto fewer = without;
        fewer.push_back(what);
        const bool fails = !run_cluster(plan_of(seed, fewer), {}).violations.empty();
        std::printf("  without %s: %s\n", what.c_str(), fails ? "fails still" : "holds");
        std::fflush(stdout);
        if (fails) {
            without = std::move(fewer);
        }
    }
    std::string command = "tools/sim --story --seed " + std::to_string(seed);
    for (const auto& what : without) {
        command += " --without " + what;
    }
    std::printf("shortest found: %s\n", command.c_str());
}

int run(const Options& options) {
    int failed = 0;
    Coverage coverage;
    for (auto seed = options.seed; seed < options.seed + options.seeds; ++seed) {
        const auto before = std::clock();
        RunOptions how;
        how.echo = options.story;
        auto plan = plan_of(seed, options.without);
        plan.total_s = options.minutes * 60;
        const auto result = run_cluster(plan, how);
        const auto cpu = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
        show(result, seed, cpu);
        for (const auto& [what, n] : result.coverage) {
            coverage[what] += n;
        }
        if (!result.violations.empty()) {
            ++failed;
            if (options.shrink) {
                shrink(seed, options.without);
            } else {
                std::printf("again, in words: tools/sim --story --seed %llu\n",
                            static_cast<unsigned long long>(seed));
            }
        }
    }
    if (options.seeds > 1) {
        std::printf("%d of %llu seeds violated something\n%s", failed,
                    static_cast<unsigned long long>(options.seeds),
                    coverage_table(coverage).c_str());
    }
    return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace reeve::sim

int main(int argc, char** argv) {
    CLI::App app{"tools/sim: whole clusters in the simulator, one a seed"};
    reeve::sim::Options options;
    app.add_option("--seed", options.seed, "the first one")->capture_default_str();
    app.add_option("--seeds", options.seeds, "how many")->capture_default_str();
    app.add_option("--minutes", options.minutes, "of virtual time at least, for each seed")
        ->capture_default_str();
    app.add_flag("--story", options.story, "tell what happens, in order of time");
    app.add_flag("--shrink", options.shrink, "leave out what a failure does not need");
    app.add_option("--without", options.without, "a class of trouble that is left out")
        ->check(CLI::IsMember(reeve::sim::Plan::classes()));
    CLI11_PARSE(app, argc, argv);
    return reeve::sim::run(options);
}
