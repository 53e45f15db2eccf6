#pragma once

// One knob, the heartbeat h; the rest are multiples of it (log page, "HEAD").

#include <algorithm>

#include "base/time.h"

namespace reeve::control {

struct Timing {
    milliseconds worker_heartbeat{5000};
    milliseconds coordinator_heartbeat{1000};
    milliseconds retry_interval{1000};  // timer of the loop when nothing wakes it
    milliseconds offer_interval{5000};  // least time between two offers of one job
    milliseconds duty_stagger{2000};    // a worker of rank r takes a duty over after r of these

    /// How often the share is asked for news when nobody rings, and for what is rare.
    milliseconds poll() const {
        return std::clamp(std::min(coordinator_heartbeat, worker_heartbeat) / 2, milliseconds(50),
                          milliseconds(5'000));
    }
    milliseconds relist() const { return 4 * poll(); }
    milliseconds fresh(milliseconds h) const { return 3 * h; }  // good enough to route to
    milliseconds coordinator_silent() const { return 3 * coordinator_heartbeat; }
    milliseconds fence(milliseconds h) const { return 9 * h; }  // stops what must stop alone
    milliseconds dead(milliseconds h) const { return 18 * h; }  // others may declare it lost
    milliseconds orphan(milliseconds h) const { return 60 * h; }
};

constexpr std::size_t dispatch_window = 32;   // offers at the head of the line that are looked at
constexpr std::size_t offer_candidates = 16;  // nodes kept in one offer
constexpr std::uint32_t pass_over_limit =
    16;  // a job passed over so often may not be passed over again

}  // namespace reeve::control
