#pragma once

// Many seeds on several cores: a world has a process of its own to run in, and processes are what
// there can be several of. The runs are the same as one after the other.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/sim/faults.h"

namespace reeve::sim {

/// What is left of a run when its process is gone.
struct RunSummary {
    std::string text;  // for people
    bool failed = false;
    std::size_t executions = 0;
    Coverage coverage;
};

/// Runs `run` for each seed, in `processes` children (0: one for each core), and `take` here, in
/// the order of `seeds`, until it returns false. A child that died is an outcome that failed.
void run_many(const std::vector<std::uint64_t>& seeds, unsigned processes,
              const std::function<RunSummary(std::uint64_t seed)>& run,
              const std::function<bool(std::uint64_t seed, const RunSummary&)>& take);

}  // namespace reeve::sim
