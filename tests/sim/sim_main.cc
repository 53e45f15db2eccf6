// `tools/sim`: runs whole clusters in the simulator and tells what happened.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <iostream>
#include <map>
#include <numeric>

#include "tests/sim/many.h"
#include "tests/sim/scenario.h"

namespace reeve::sim {
namespace {

constexpr std::size_t enough_seeds = 300;

struct Options {
    std::uint64_t seed = 1;
    std::uint64_t seeds = 1;
    std::int64_t minutes = 0;
    bool story = false;
    bool shrink = false;
    bool until_violated = false;
    bool digests = false;
    std::vector<std::string> without;
    int jobs = -1;
    std::int64_t trouble_s = -1;
    int pace = 0;
    unsigned processes = 0;
    std::string mistake;
};

/// What the modelled supervisor does wrong, for a failure that is sure to be there.
const std::map<std::string, ExecMistake>& mistakes() {
    static const std::map<std::string, ExecMistake> out{
        {"runs-again", ExecMistake::runs_again},
        {"forgets-outcomes", ExecMistake::forgets_outcomes},
    };
    return out;
}

Plan plan_of(std::uint64_t seed, const Options& options) {
    auto plan = Plan::of(seed);
    for (const auto& what : options.without) {
        plan.without(what);
    }
    if (options.minutes > 0) {
        plan.last(options.minutes * 60);
    }
    if (options.pace > 0) {
        plan.set_pace(options.pace);
    }
    if (!options.mistake.empty()) {
        plan.mistake = mistakes().at(options.mistake);
    }
    plan.jobs = options.jobs >= 0 ? options.jobs : plan.jobs;
    plan.trouble_s = options.trouble_s >= 0 ? options.trouble_s : plan.trouble_s;
    return plan;
}

/// What runs the same plan again, told in words.
std::string command_of(std::uint64_t seed, const Options& options) {
    std::string out = "tools/sim --story --seed " + std::to_string(seed);
    const auto add = [&](const char* name, const std::string& value) {
        out += std::string(" ") + name + " " + value;
    };
    if (!options.mistake.empty()) {
        add("--mistake", options.mistake);
    }
    for (const auto& what : options.without) {
        add("--without", what);
    }
    if (options.minutes > 0) {
        add("--minutes", std::to_string(options.minutes));
    }
    if (options.jobs >= 0) {
        add("--jobs", std::to_string(options.jobs));
    }
    if (options.trouble_s >= 0) {
        add("--trouble", std::to_string(options.trouble_s));
    }
    if (options.pace > 0) {
        add("--pace", std::to_string(options.pace));
    }
    return out;
}

std::string text_of(const RunResult& run, std::uint64_t seed, double cpu) {
    auto out = fmt::format(
        "seed {}: {}; {:.1f} virtual minutes, {} steps, {:.2f} s; {} accepted, {} executed, trace "
        "{:016x}\n",
        seed, run.violations.empty() ? "holds" : "VIOLATED", static_cast<double>(run.end.ns) / 60e9,
        run.steps, cpu, run.accepted, run.executions, run.digest);
    for (const auto& one : run.violations) {
        out += "  " + one + "\n";
    }
    return out;
}

/// Smaller and smaller, as long as the same thing goes wrong.
class Shrinker {
public:
    Shrinker(std::uint64_t seed, Options options, const RunResult& found)
        : seed_(seed), options_(std::move(options)), what_(kind_of(found.violations.front())) {}

    std::string run() {
        text_ = fmt::format("  looking for less that ends with {}:\n", what_);
        for (const auto& what : Plan::classes()) {
            auto fewer = options_;
            fewer.without.push_back(what);
            take("without " + what, fewer);
        }
        for (bool again = true; again;) {
            const auto plan = plan_of(seed_, options_);
            auto fewer = options_;
            fewer.jobs = plan.jobs / 2;
            again = plan.jobs > 0 && take(std::to_string(fewer.jobs) + " jobs", fewer);
        }
        for (bool again = true; again;) {
            const auto plan = plan_of(seed_, options_);
            auto fewer = options_;
            fewer.trouble_s = plan.trouble_s * 2 / 3;
            again = plan.trouble_s > 5 &&
                    take(std::to_string(fewer.trouble_s) + " s of trouble", fewer);
        }
        return text_ + "shortest found: " + command_of(seed_, options_) + "\n";
    }

private:
    /// "I2: job ..." -> "I2"
    static std::string kind_of(const std::string& violation) {
        return violation.substr(0, violation.find(':'));
    }

    bool take(const std::string& how, const Options& fewer) {
        const auto plan = plan_of(seed_, fewer);
        if (plan.text() == plan_of(seed_, options_).text()) {
            return false;  // it was off already
        }
        const auto violations = run_cluster(plan, {}).violations;
        const bool same = std::any_of(violations.begin(), violations.end(),
                                      [&](const auto& one) { return kind_of(one) == what_; });
        text_ += fmt::format("  {}: {}\n", how, same ? "fails still" : "holds");
        if (same) {
            options_ = fewer;
        }
        return same;
    }

    const std::uint64_t seed_;
    Options options_;
    const std::string what_;
    std::string text_;
};

RunSummary run_one(std::uint64_t seed, const Options& options) {
    const auto before = std::clock();
    RunOptions how;
    how.echo = options.story;
    auto plan = plan_of(seed, options);
    const auto result = run_cluster(plan, how);
    const auto cpu = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    const bool failed = !result.violations.empty();
    RunSummary out{options.digests ? fmt::format("{} {:016x}\n", seed, result.digest)
                                   : text_of(result, seed, cpu),
                   failed, result.executions, result.coverage};
    if (failed && options.shrink) {
        out.text += Shrinker(seed, options, result).run();
    } else if (failed) {
        out.text += "again, in words: " + command_of(seed, options) + "\n";
    }
    return out;
}

int run(const Options& options) {
    std::uint64_t failed = 0;
    Coverage coverage;
    std::vector<std::uint64_t> seeds(options.seeds);
    std::iota(seeds.begin(), seeds.end(), options.seed);
    run_many(
        seeds, options.processes, [&](std::uint64_t seed) { return run_one(seed, options); },
        [&](std::uint64_t, const RunSummary& outcome) {
            std::cout << outcome.text << std::flush;
            add(coverage, outcome.coverage);
            failed += outcome.failed ? 1 : 0;
            return !outcome.failed || !options.until_violated;
        });
    if (options.seeds > 1 && !options.digests && !(failed > 0 && options.until_violated)) {
        std::cout << fmt::format("{} of {} seeds violated something\n{}", failed, options.seeds,
                                 coverage_table(coverage));
    }
    if (options.without.empty() && seeds.size() >= enough_seeds &&
        !never_happened(coverage).empty()) {
        std::cout << "in so many seeds everything in the table should happen, and does not\n";
        return 1;
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
    app.add_flag("--until-violated", options.until_violated,
                 "no further seed after the first that fails");
    app.add_flag("--shrink", options.shrink, "leave out what a failure does not need");
    app.add_option("--processes", options.processes, "at the same time; 0: one for each core")
        ->capture_default_str();
    app.add_flag("--digests", options.digests, "print the digest of each seed's trace only");
    app.add_option("--jobs", options.jobs, "instead of the seed's number");
    app.add_option("--trouble", options.trouble_s, "for so many seconds, instead of the seed's");
    app.add_option("--pace", options.pace,
                   "heartbeats so many times the usual, instead of the seed's")
        ->check(CLI::Range(1, 64));
    app.add_option("--without", options.without, "a class of trouble that is left out")
        ->check(CLI::IsMember(reeve::sim::Plan::classes()));
    app.add_option("--mistake", options.mistake,
                   "of the modelled supervisor, to test the simulator itself with")
        ->check(CLI::IsMember(reeve::sim::mistakes()));
    CLI11_PARSE(app, argc, argv);
    return reeve::sim::run(options);
}
