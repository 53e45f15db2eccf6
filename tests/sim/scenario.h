#pragma once

// One run of a whole cluster by a seed: it is founded, people ask it for work while things go
// wrong, then nothing goes wrong any more and it must come to rest, then everything is checked.

#include <set>
#include <string>

#include "tests/sim/cluster.h"

namespace reeve::sim {

/// What a seed does. Each class of trouble is on or off by the seed.
struct Plan {
    std::uint64_t seed = 0;
    Faults faults;
    ClusterOptions cluster;
    int jobs = 0;
    std::int64_t trouble_s = 0;        // how long things go wrong
    std::int64_t total_s = 0;          // of virtual time, at least
    std::int64_t most_rest_s = 3'600;  // to come to rest after the last fault
    // How often, a virtual hour in the whole cluster; 0: never.
    int kills = 0;
    int crashes = 0;
    int stops = 0;
    int supervisor_kills = 0;
    int pauses = 0;
    int nas_restarts = 0;
    int cuts = 0;
    int nas_errors = 0;
    int unmounts = 0;
    int full_disks = 0;
    int clocks = 0;
    int drains = 0;
    // In the whole run, at most one of each.
    int rollbacks = 0;
    int losses = 0;
    int lost_disks = 0;
    int clones = 0;
    int removals = 0;
    int admissions = 0;
    int policies = 0;  // an operator loads so many, one after the other
    int cancels_percent = 0;
    int bad_percent = 0;
    int incoming_percent = 0;
    std::uint32_t bell_loss_permille = 0;
    std::uint32_t exec_stall_permille = 0;
    ExecMistake mistake = ExecMistake::none;  // never by the seed

    static constexpr int long_pace = 8;
    static Plan of(std::uint64_t seed);
    /// Every heartbeat, and what is a multiple of it, so many times the usual one.
    void set_pace(int pace);
    /// Things go wrong for half of so long, and it does not end before. The pace is slow: hours of
    /// the usual one are spent on heartbeats.
    void last(std::int64_t seconds);
    /// Names that `without` knows.
    static const std::vector<std::string>& classes();
    /// Leaves a class out.
    void without(const std::string& what);
    std::string text() const;
};

struct RunOptions {
    Backend backend = Backend::fibers;
    bool echo = false;  // the story as it happens
};

struct RunResult {
    std::vector<std::string> violations;  // empty: everything holds
    std::vector<std::string> story;
    std::string report;  // of the scheduler
    std::uint64_t digest = 0;
    std::uint64_t steps = 0;
    MonoTime end;
    Coverage coverage;
    std::size_t executions = 0;
    std::size_t accepted = 0;
};

RunResult run_cluster(const Plan& plan, const RunOptions& options);

}  // namespace reeve::sim
