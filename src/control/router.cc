// Integers only. Probabilities are parts per million, times milliseconds; decay is a shift of
// evidence scaled by 1,000, so that equal inputs give equal scores on every machine.

#include "control/router.h"

#include <algorithm>
#include <map>

#include "base/text.h"

namespace reeve::control {
namespace {

constexpr std::int64_t million = 1'000'000;
constexpr std::int64_t scale = 1'000;  // of decayed counts
constexpr std::int64_t day_ms = 86'400'000;
constexpr std::int64_t prior_weight = 2 * scale;
constexpr std::int64_t least_chance_ppm = 10'000;
constexpr std::size_t max_reason_bytes = 200;
constexpr std::int64_t better_by_percent = 20;
constexpr std::int64_t better_by_ms = 200;

/// What has been seen of one (node, type), older days weighing half per half-life.
struct Evidence {
    std::int64_t good = 0;  // scaled
    std::int64_t bad = 0;
    std::map<std::size_t, std::int64_t> durations;
    std::uint64_t runs_today = 0;

    void add(const projection::RoutingRow& row, std::int64_t age_days, std::int64_t half_life) {
        const std::int64_t halvings =
            std::min<std::int64_t>(age_days / std::max<std::int64_t>(half_life, 1), 20);
        const std::int64_t weight = scale >> halvings;
        good += static_cast<std::int64_t>(row.succeeded) * weight;
        bad += static_cast<std::int64_t>(row.failed + row.timeout + row.lost) * weight;
        for (std::size_t i = 0; i < row.durations.size(); ++i) {
            if (row.durations[i] > 0) {
                durations[i] += row.durations[i] * weight;
            }
        }
        runs_today += age_days == 0 ? row.runs : 0;
    }
    /// Median, or nothing.
    std::optional<std::int64_t> run_ms() const {
        std::int64_t total = 0;
        for (const auto& [bucket, weight] : durations) {
            total += weight;
        }
        std::int64_t seen = 0;
        for (const auto& [bucket, weight] : durations) {
            seen += weight;
            if (weight > 0 && 2 * seen >= total) {
                return projection::bucket_ms(bucket);
            }
        }
        return std::nullopt;
    }
};

struct Known {
    std::map<NodeId, Evidence> of_type;
    std::map<NodeId, Evidence> of_node;
    Evidence type;
};

Known gather(const RoutingStats& stats, const std::string& type, const RouterPolicy& policy,
             WallTime now) {
    Known out;
    for (const auto& [key, row] : stats) {
        const auto age = std::max<std::int64_t>(now.ms / day_ms - key.day, 0);
        out.of_node[key.node].add(row, age, policy.half_life_days);
        if (key.task_type == type) {
            out.of_type[key.node].add(row, age, policy.half_life_days);
            out.type.add(row, age, policy.half_life_days);
        }
    }
    return out;
}

/// Mean of a Beta posterior whose prior is the node's own mean over all types.
std::int64_t chance_ppm(const Evidence& type, const Evidence& node) {
    const auto node_mean =
        (node.good + prior_weight) * million / (node.good + node.bad + prior_weight);
    return std::max(least_chance_ppm, (type.good * million + prior_weight * node_mean) /
                                          (type.good + type.bad + prior_weight));
}

bool has(const std::vector<std::string>& list, const std::string& one) {
    return std::find(list.begin(), list.end(), one) != list.end();
}

std::string exclusion(const queue::JobSpec& spec, const Candidate& c, const Timing& timing) {
    const auto limit = timing.fresh(c.heartbeat);
    if (c.stopped) {
        return "stopped";
    }
    if (c.draining) {
        return "drained";
    }
    if (c.outdated) {
        return "runs a build older than the cluster's level; upgrade it";
    }
    if (c.silent_for > limit) {
        return "silent for " + std::to_string(c.silent_for.count() / 1000) + " s (limit " +
               std::to_string(limit.count() / 1000) + " s)";
    }
    if (c.slots == 0) {
        return "has no slots";
    }
    return unfit(spec, c);
}

events::OfferScore score(const queue::JobSpec& spec, const Candidate& c, const Known& known,
                         const RouterPolicy& policy) {
    static const Evidence none;
    const auto find = [](const std::map<NodeId, Evidence>& map,
                         const NodeId& node) -> const Evidence& {
        const auto found = map.find(node);
        return found == map.end() ? none : found->second;
    };
    const auto& type = find(known.of_type, c.node);
    const auto run = type.run_ms().value_or(known.type.run_ms().value_or(policy.default_run_ms));
    const std::int64_t behind = c.running >= c.slots ? c.running - c.slots + 1 : 0;
    events::OfferScore out;
    out.node = c.node;
    out.eligible = true;
    out.expected_ms = run + (behind * run + c.slots - 1) / c.slots;
    const auto chance = chance_ppm(type, find(known.of_node, c.node));
    out.success_ppm = static_cast<std::uint32_t>(chance);
    out.cost_ms = out.expected_ms * million / chance;
    const auto needs =
        static_cast<std::int64_t>(spec.requires_.roles.size() + spec.requires_.labels.size());
    const auto declared = static_cast<std::int64_t>(c.roles.size() + c.labels.size());
    // A node with fewer roles than the job needs is excluded; one that declares more is kept for
    // others.
    out.role_ppm = static_cast<std::uint32_t>(
        (needs + 1) * million / (declared + 1 > needs + 1 ? declared + 1 : needs + 1));
    out.recency_ppm = static_cast<std::uint32_t>(
        million / static_cast<std::int64_t>(1 + std::min<std::uint64_t>(type.runs_today, 1000)));
    return out;
}

std::uint64_t tie_hash(const JobId& job, const NodeId& node) {
    ByteWriter w;
    w.raw(job.bytes);
    w.text(node.v);
    return load_le<std::uint64_t>(sha256(w.view()).data());
}

/// Cheapest first; those within `tie_ppm` of the cheapest of their group go by hash of the job, so
/// that near-equal nodes share the work and every machine orders them alike.
void order_by_cost(const JobId& job, std::vector<events::OfferScore>& scores,
                   std::uint32_t tie_ppm) {
    std::sort(scores.begin(), scores.end(), [](const auto& a, const auto& b) {
        return std::tie(a.cost_ms, a.node) < std::tie(b.cost_ms, b.node);
    });
    for (auto group = scores.begin(); group != scores.end();) {
        const auto most = group->cost_ms + group->cost_ms / million * tie_ppm +
                          group->cost_ms % million * tie_ppm / million;
        const auto end =
            std::find_if(group, scores.end(), [&](const auto& one) { return one.cost_ms > most; });
        std::sort(group, end, [&](const auto& a, const auto& b) {
            return std::tuple(tie_hash(job, a.node), a.node) <
                   std::tuple(tie_hash(job, b.node), b.node);
        });
        group = end;
    }
}

std::int64_t blend_of(const events::OfferScore& s, const RouterPolicy& p) {
    return static_cast<std::int64_t>(s.role_ppm) * p.role_ppm +
           static_cast<std::int64_t>(s.success_ppm) * p.success_ppm +
           static_cast<std::int64_t>(s.speed_ppm) * p.speed_ppm +
           static_cast<std::int64_t>(s.recency_ppm) * p.recency_ppm;
}

}  // namespace

std::vector<events::OfferScore> rank(const JobId& job, const queue::JobSpec& spec,
                                     const std::vector<Candidate>& candidates,
                                     const RoutingStats& stats, const RouterPolicy& policy,
                                     const Timing& timing, WallTime now) {
    const auto known = gather(stats, spec.task_type(), policy, now);
    std::vector<events::OfferScore> in;
    std::vector<events::OfferScore> out;
    for (const auto& candidate : candidates) {
        auto reason = exclusion(spec, candidate, timing);
        if (reason.empty()) {
            in.push_back(score(spec, candidate, known, policy));
        } else {
            events::OfferScore excluded;
            excluded.node = candidate.node;
            excluded.reason = std::string(clip_utf8(reason, max_reason_bytes));
            out.push_back(std::move(excluded));
        }
    }
    std::int64_t best = INT64_MAX;
    for (const auto& one : in) {
        best = std::min(best, one.expected_ms);
    }
    for (auto& one : in) {
        one.speed_ppm = static_cast<std::uint32_t>(std::max<std::int64_t>(best, 1) * million /
                                                   std::max<std::int64_t>(one.expected_ms, 1));
    }
    if (policy.blend) {
        std::sort(in.begin(), in.end(), [&](const auto& a, const auto& b) {
            return std::tuple(-blend_of(a, policy), tie_hash(job, a.node), a.node) <
                   std::tuple(-blend_of(b, policy), tie_hash(job, b.node), b.node);
        });
    } else {
        order_by_cost(job, in, policy.tie_ppm);
    }
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.node < b.node; });
    in.insert(in.end(), out.begin(), out.end());
    if (in.size() > offer_candidates) {
        in.resize(offer_candidates);
    }
    return in;
}

std::string unfit(const queue::JobSpec& spec, const Candidate& c) {
    for (const auto& role : spec.requires_.roles) {
        if (!has(c.roles, role)) {
            return "lacks role " + role;
        }
    }
    for (const auto& [key, value] : spec.requires_.labels) {
        if (!has(c.labels, key + "=" + value)) {
            return "label " + key + "=" + value + " missing";
        }
    }
    if (spec.requires_.cpus > c.cpus) {
        return "needs " + std::to_string(spec.requires_.cpus) + " cpus, has " +
               std::to_string(c.cpus);
    }
    if (spec.requires_.memory_mb > c.memory_mb) {
        return "needs " + std::to_string(spec.requires_.memory_mb) + " MiB memory, has " +
               std::to_string(c.memory_mb);
    }
    return "";
}

bool nobody_eligible(const std::vector<events::OfferScore>& scores) {
    return std::none_of(scores.begin(), scores.end(), [](const auto& one) { return one.eligible; });
}

std::string dominant_reason(const std::vector<events::OfferScore>& scores) {
    std::map<std::string, int> count;
    const events::OfferScore* best = nullptr;
    for (const auto& one : scores) {
        count[one.reason] += one.eligible ? 0 : 1;
    }
    for (const auto& one : scores) {
        if (!one.eligible && (best == nullptr || count[one.reason] > count[best->reason])) {
            best = &one;
        }
    }
    return best == nullptr ? "" : best->node.v + " " + best->reason;
}

bool same_order(const std::vector<events::OfferScore>& a,
                const std::vector<events::OfferScore>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.node == y.node && x.eligible == y.eligible;
    });
}

std::optional<std::size_t> choose(const NodeId& self, const std::vector<Choice>& line) {
    std::optional<std::size_t> first_possible;
    const auto end = std::min(line.size(), dispatch_window);
    for (std::size_t i = 0; i < end; ++i) {
        const auto& scores = line[i].scores;
        const auto mine = std::find_if(scores.begin(), scores.end(),
                                       [&](const auto& s) { return s.eligible && s.node == self; });
        if (line[i].tried || mine == scores.end()) {
            continue;
        }
        if (line[i].passed_over >= pass_over_limit || mine == scores.begin()) {
            return i;
        }
        const auto other = scores.front().expected_ms;
        const bool sooner_elsewhere =
            mine->expected_ms - other > std::max(better_by_ms, other * better_by_percent / 100);
        if (!sooner_elsewhere && !first_possible) {
            first_possible = i;
        }
    }
    return first_possible;
}

}  // namespace reeve::control
