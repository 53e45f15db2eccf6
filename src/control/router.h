#pragma once

// The first router: which nodes may run a job, in which order, and why. Pure and in integers: the
// same inputs give the same scores on every machine, so a decision can be recomputed and explained.
//
// Source of the terms: the routing page. Success is the mean of a Beta posterior over decayed
// counts, shrunk toward the node's mean; speed compares expected completion; recency spreads
// near-equals.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/timing.h"
#include "events/events.h"
#include "projection/projection.h"
#include "queue/door/door.h"

namespace reeve::control {

/// One worker as the decider sees it now. Plain facts; the decider fills them from its view, its
/// own liveness measurements and its slots.
struct Candidate {
    NodeId node;
    WriterId writer;
    std::vector<std::string> roles;
    std::vector<std::string> labels;  // "key=value"
    std::uint32_t slots = 0;
    std::uint32_t cpus = 0;
    std::uint64_t memory_mb = 0;
    std::uint32_t running = 0;  // attempts started there and not ended, by the view
    bool stopped = false;       // said goodbye
    bool draining = false;
    bool outdated = false;       // its build knows less than the cluster's level
    milliseconds silent_for{0};  // since its HEAD last changed, by the observer's clock
    milliseconds heartbeat{5000};
};

struct RouterPolicy {
    std::uint32_t role_ppm = 200'000;  // weights of the four terms, sum 1,000,000
    std::uint32_t success_ppm = 350'000;
    std::uint32_t speed_ppm = 350'000;
    std::uint32_t recency_ppm = 100'000;
    bool blend = false;  // false: order by cost (the default)
    std::int64_t half_life_days = 7;
    std::int64_t default_run_ms = 1000;  // run time of a type nobody has run
    std::uint32_t tie_ppm = 20'000;      // costs within 2 % tie; ties go by hash of the job id
};

using RoutingStats = std::map<projection::RoutingKey, projection::RoutingRow>;

/// Eligible nodes best first, then the excluded ones with their reason; at most offer_candidates.
std::vector<events::OfferScore> rank(const JobId& job, const queue::JobSpec& spec,
                                     const std::vector<Candidate>& candidates,
                                     const RoutingStats& stats, const RouterPolicy& policy,
                                     const Timing& timing, WallTime now);

/// Why the node can never run the job, whatever happens there: what it lacks. Empty: it can.
std::string unfit(const queue::JobSpec& spec, const Candidate& candidate);

/// True when no candidate is eligible.
bool nobody_eligible(const std::vector<events::OfferScore>& scores);
/// The one reason why a job that cannot be placed is not placed: the commonest, ties by node name.
std::string dominant_reason(const std::vector<events::OfferScore>& scores);
/// The same nodes, in the same order, with the same eligibility: not worth a new event.
bool same_order(const std::vector<events::OfferScore>& a, const std::vector<events::OfferScore>& b);

/// A pending attempt at the head of the line, as a worker with a free slot sees it.
struct Choice {
    AttemptId attempt;
    std::vector<events::OfferScore>
        scores;  // from the last offer for this attempt, or computed here
    std::uint32_t passed_over = 0;
    bool tried = false;  // another's claim was seen: never again
};
/// Which of the first `dispatch_window` choices `self` should claim: one it ranks first in, else
/// the head of the line, unless another live node is expected to finish that one sooner by more
/// than 20 % (and 200 ms) and it may still be passed over. Never one it is not eligible for. Index,
/// or nothing.
std::optional<std::size_t> choose(const NodeId& self, const std::vector<Choice>& line);

}  // namespace reeve::control
