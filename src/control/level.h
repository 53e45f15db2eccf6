#pragma once

// The level of the cluster: which event types may be written. Raised by an event, never lowered.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace reeve::control {

/// What the greatest LevelRaised (`raised`) amounts to. Anybody who may write can write that event,
/// so it counts only as far as every member knows: `known` are the levels that they have named.
/// `before`: what was reached once; a member that comes back with an older build does not lower it.
inline std::uint32_t heeded_level(std::uint32_t raised, std::uint32_t before,
                                  const std::vector<std::uint32_t>& known) {
    const auto least = std::min_element(known.begin(), known.end());
    return std::max(before, least == known.end() ? raised : std::min(raised, *least));
}

}  // namespace reeve::control
