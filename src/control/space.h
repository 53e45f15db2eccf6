#pragma once

// How much a writer may still write, as a function of the room on its own disk (log page, "The
// writer", 4): health is dropped first, then new work is refused, outcomes are written to the last.

#include <cstdint>

namespace reeve::control {

struct SpacePolicy {
    std::uint64_t reserve_bytes = 256ULL * 1024 * 1024;  // 0: room is not watched
    std::uint64_t ballast_bytes = 64ULL * 1024 * 1024;   // 0: no ballast is kept
};

enum class SpaceLevel : std::uint8_t {
    ample,     // everything is written
    low,       // below the reserve: no health but its change of state
    refusing,  // below half of it: no new claims, no submissions either
};

/// `before` is what was concluded last: a level is left only when there is an eighth of the reserve
/// more than it takes to enter it, so that a small file does not make it flap.
SpaceLevel space_level(std::uint64_t free_bytes, SpaceLevel before, const SpacePolicy& policy);
/// Whether the ballast fits without reaching into the reserve.
bool room_for_ballast(std::uint64_t free_bytes, const SpacePolicy& policy);
const char* space_level_name(SpaceLevel level);

}  // namespace reeve::control
