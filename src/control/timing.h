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
    /// How often a worker lists its claims, for one that it does not know of.
    milliseconds own_claims() const {
        return std::max(milliseconds(60'000), 12 * worker_heartbeat);
    }
    /// How often a node writes its status file, which is for people.
    milliseconds status() const { return std::max(milliseconds(2'000), 2 * coordinator_heartbeat); }
    /// How often the rendered files are compared with the view: people may have moved them.
    milliseconds reconcile() const {
        return std::max(milliseconds(20'000), 20 * coordinator_heartbeat);
    }
    /// How often a little of the local logs is read again.
    milliseconds scrub() const { return std::max(milliseconds(15'000), 3 * worker_heartbeat); }
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
