#pragma once

// Which seeds a simulation test runs, and how it fails.
//
//   REEVE_SIM_SEED=N     only this one (what a failed test prints)
//   REEVE_SIM_SEEDS=N    so many, from 1
//   REEVE_SIM_TRACE=1    every call to stderr as it happens

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace reeve::sim {

inline std::uint64_t number_in_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

inline std::vector<std::uint64_t> seeds(std::uint64_t count) {
    if (const auto one = number_in_environment("REEVE_SIM_SEED", 0); one != 0) {
        return {one};
    }
    std::vector<std::uint64_t> out(number_in_environment("REEVE_SIM_SEEDS", count));
    std::iota(out.begin(), out.end(), std::uint64_t{1});
    return out;
}

/// True when many seeds run, so that what they reached together can be asked for.
inline bool enough_for_coverage(std::size_t count) { return count >= 100; }

}  // namespace reeve::sim
