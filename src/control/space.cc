#include "control/space.h"

namespace reeve::control {

SpaceLevel space_level(std::uint64_t free_bytes, SpaceLevel before, const SpacePolicy& policy) {
    const std::uint64_t reserve = policy.reserve_bytes;
    const std::uint64_t margin = reserve / 8;
    const std::uint64_t refuse_below =
        reserve / 2 + (before == SpaceLevel::refusing ? margin : std::uint64_t{0});
    if (free_bytes < refuse_below) {
        return SpaceLevel::refusing;
    }
    const std::uint64_t low_below =
        reserve + (before == SpaceLevel::ample ? std::uint64_t{0} : margin);
    return free_bytes < low_below ? SpaceLevel::low : SpaceLevel::ample;
}

bool room_for_ballast(std::uint64_t free_bytes, const SpacePolicy& policy) {
    return free_bytes >= policy.reserve_bytes &&
           free_bytes - policy.reserve_bytes >= policy.ballast_bytes;
}

const char* space_level_name(SpaceLevel level) {
    switch (level) {
        case SpaceLevel::ample: return "ample";
        case SpaceLevel::low: return "low";
        case SpaceLevel::refusing: return "refusing";
    }
    return "unknown";
}

}  // namespace reeve::control
