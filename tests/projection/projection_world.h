#pragma once

// Events as a test writes them down: a story is a list of payloads, each said by a writer at a
// later time than the one before.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "events/codec.h"
#include "projection/job_row.h"
#include "projection/projection.h"

namespace reeve::projection {

inline const WriterId nova("nova.worker");
inline const WriterId mira("mira.worker");
inline const WriterId coordinator("nova.coord");
inline constexpr std::int64_t story_start_ms = 1'700'000'000'000;

inline Hlc hlc_at(std::int64_t ms, std::uint64_t counter = 0) {
    return Hlc(static_cast<std::uint64_t>(ms) << 16 | counter);
}
inline JobId job_id(std::uint8_t n) {
    return JobId::make(story_start_ms, {0, 0, 0, 0, 0, 0, 0, 0, 0, n});
}
inline AttemptId attempt_of(std::uint32_t k, std::uint8_t job = 1) {
    return {job_id(job), AttemptNo(k)};
}

inline events::JobSubmitted submitted(
    std::string document = R"({"argv":["/bin/true"],"type":"command"})", std::uint8_t job = 1) {
    events::JobSubmitted e;
    e.job = job_id(job);
    e.spec_hash = sha256(as_bytes(document));
    e.document = std::move(document);
    return e;
}
inline events::JobStarted started(std::uint32_t k, const WriterId& by = nova) {
    return {attempt_of(k), node_of(by), Incarnation(1), {}, true};
}
inline events::JobReleased released(std::uint32_t k, const WriterId& by = nova) {
    return {attempt_of(k), node_of(by), "barrier"};
}
inline events::JobFinished finished(std::uint32_t k, events::Outcome outcome,
                                    std::int32_t exit = 1) {
    events::JobFinished e;
    e.attempt = attempt_of(k);
    e.node = node_of(nova);
    e.outcome = outcome;
    e.exit = outcome == events::Outcome::succeeded ? 0 : exit;
    e.wall_ms = 1000;
    return e;
}
inline events::JobLost lost(std::uint32_t k, const WriterId& owner = nova) {
    return {attempt_of(k), owner, "silent"};
}
inline events::AttemptOpened opened(std::uint32_t k, std::int64_t not_before_ms = 0) {
    return {attempt_of(k), not_before_ms, "retry"};
}
inline events::JobEnded ended(std::uint32_t k, events::Ending ending) {
    return {attempt_of(k), ending, "why"};
}
inline events::JobCancelRequested cancelled(bool give_up_lost = false, std::uint8_t job = 1) {
    return {job_id(job), 7, "", give_up_lost};
}

struct Said {
    events::Payload what;
    WriterId by = nova;
    Said(events::Payload payload, WriterId writer = nova)
        : what(std::move(payload)), by(std::move(writer)) {}
    template <typename T>
    Said(T payload, WriterId writer = nova)
        : Said(events::Payload(std::move(payload)), std::move(writer)) {}
};
using Story = std::vector<Said>;

/// Event i is said i + 1 seconds after the start.
inline std::vector<events::Event> events_of(const Story& story) {
    std::vector<events::Event> out;
    for (const auto& said : story) {
        const auto n = out.size() + 1;
        out.push_back({hlc_at(story_start_ms + 1000 * static_cast<std::int64_t>(n)), said.by,
                       Seq(n), said.what});
    }
    return out;
}
inline std::int64_t second(int n) { return story_start_ms + 1000 * n; }

inline JobRow row_of(const Story& story) {
    JobRow row;
    for (const auto& event : events_of(story)) {
        EXPECT_TRUE(fold(row, event));
    }
    return row;
}

}  // namespace reeve::projection
