#pragma once

// What a cluster says of its jobs: submitted on one node, offered by a coordinator, started and
// finished on one of four workers. For benches.

#include <array>
#include <string>
#include <vector>

#include "events/events.h"

namespace reeve::bench {

constexpr std::int64_t start_ms = 1'700'000'000'000;
inline const std::array<std::string, 5> writers = {"nova.worker", "vega.worker", "mira.worker",
                                                   "rigel.worker", "nova.coord"};
constexpr std::size_t coordinator = 4;

/// One event of a job's life, and whose log it stands in.
struct Said {
    std::size_t writer = 0;  // of writers
    events::Payload payload;
};

inline JobId job_number(std::uint64_t n) {
    std::array<std::uint8_t, 10> random{};
    store_le(random.data(), (n + 1) * 0x9e3779b97f4a7c15ULL);
    return JobId::make(start_ms + static_cast<std::int64_t>(n), random);
}

inline events::JobSubmitted submission_of(std::uint64_t n) {
    events::JobSubmitted out;
    out.job = job_number(n);
    out.document = R"({"argv":["/usr/bin/convert","in/)" + std::to_string(n) +
                   R"(.png","-resize","50%","out.png"],"name":"thumbnail","type":"command"})";
    out.spec_hash = sha256(as_bytes(out.document));
    out.request_id = "request/" + std::to_string(n);
    return out;
}

inline events::JobOffered offer_of(const AttemptId& attempt, std::uint64_t n) {
    events::JobOffered out{attempt, {}};
    for (std::size_t i = 0; i < coordinator; ++i) {
        const auto& writer = writers[(n + i) % coordinator];
        out.scores.push_back({NodeId(writer.substr(0, writer.find('.'))), true, "", 500'000,
                              900'000, 400'000, 100'000, static_cast<std::int64_t>(40 + 10 * i),
                              static_cast<std::int64_t>(44 + 11 * i)});
    }
    return out;
}

/// `count` events of job `n`, in order: submitted, offered twice, started, finished; with more than
/// five it failed first, and one attempt follows another.
inline std::vector<Said> life_of(std::uint64_t n, std::size_t count) {
    const auto submitted = submission_of(n);
    std::vector<Said> out{{n % coordinator, submitted}};
    const std::size_t worker = (n * 7 + 1) % coordinator;
    const NodeId node(writers[worker].substr(0, writers[worker].find('.')));
    for (std::uint32_t k = 1; out.size() < count; ++k) {
        const AttemptId attempt{submitted.job, AttemptNo(k)};
        if (k > 1) {
            out.push_back({coordinator, events::AttemptOpened{attempt, 0, "retry: failed"}});
        }
        out.push_back({coordinator, offer_of(attempt, n)});
        out.push_back({coordinator, offer_of(attempt, n + 1)});
        events::JobStarted started{attempt, node, Incarnation(1), submitted.spec_hash, true};
        out.push_back({worker, started});
        events::JobFinished finished;
        finished.attempt = attempt;
        finished.node = node;
        const bool last = 5 * k >= count;
        finished.outcome = last ? events::Outcome::succeeded : events::Outcome::failed;
        finished.exit = last ? 0 : 1;
        finished.wall_ms = static_cast<std::int64_t>(n % 5000);
        finished.out.head = Bytes(40, 'x');
        finished.out.total_bytes = finished.out.kept_bytes = 40;
        out.push_back({worker, finished});
    }
    out.resize(count);
    return out;
}

}  // namespace reeve::bench
