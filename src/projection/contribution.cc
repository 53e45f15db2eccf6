#include "projection/contribution.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "projection/spec_rules.h"

namespace reeve::projection {
namespace {

constexpr std::int64_t day_ms = 86'400'000;

IndexEntry place(const JobId& job, const Submission& submission, const queue::JobSpec& spec,
                 const Situation& now) {
    const auto submitted = hlc_ms(submission.stamp.hlc);
    switch (now.next) {
        case Next::claim:
            return now.not_before_ms > 0
                       ? IndexEntry{IndexClass::timed, now.not_before_ms, job}
                       : IndexEntry{IndexClass::pending, virtual_ms(submission, spec), job};
        case Next::resolve_after: return {IndexClass::after, submitted, job};
        case Next::wait_for_end:
        case Next::stop: return {IndexClass::running, submitted, job};
        case Next::ask_person: return {IndexClass::lost, submitted, job};
        case Next::open_next:
        case Next::end_failed:
        case Next::end_cancelled:
        case Next::nothing: break;
    }
    return {IndexClass::decide, now.not_before_ms, job};
}

void add_attempt(Contribution& out, const std::string& type, const AttemptRow& attempt) {
    const auto phase = attempt.phase();
    const auto* loss = attempt.loss();
    if (!attempt.finished && loss == nullptr) {
        return;
    }
    const auto& stamp = attempt.finished ? attempt.finished->stamp : loss->stamp;
    const NodeId node = attempt.finished ? attempt.finished->node : node_of(loss->owner);
    if (!valid_node_name(node.v)) {
        return;  // no writer of ours says so; a key is bounded
    }
    auto& row = out.routing[{node, type, hlc_ms(stamp.hlc) / day_ms}];
    ++row.runs;
    row.succeeded += phase == Phase::succeeded ? 1 : 0;
    row.failed += phase == Phase::failed ? 1 : 0;
    row.timeout += phase == Phase::timeout ? 1 : 0;
    row.lost += phase == Phase::lost ? 1 : 0;
    if (phase == Phase::succeeded) {
        ++row.durations[duration_bucket(attempt.finished->wall_ms)];
    }
}

}  // namespace

Contribution contribution_of(const JobId& job, const JobRow& row) {
    Contribution out;
    const auto* submission = row.submission();
    if (submission == nullptr) {
        return out;
    }
    const auto spec = queue::parse_canonical(submission->document).value_or({});
    const auto now = situation_of(row, rules_of(spec));
    out.state = state_name(now.state);
    if (!is_terminal(now.state)) {
        out.index = place(job, *submission, spec, now);
        for (const auto& rule : spec.after) {
            out.after.push_back(rule.job);
        }
    }
    for (const auto& [k, attempt] : row.attempts) {
        add_attempt(out, spec.task_type(), attempt);
    }
    return out;
}

Sum row_hash(kv::Table view, ByteView key, ByteView value) {
    // Of key and value, each behind its length.
    const auto seed = static_cast<std::uint64_t>(view) << 32 | fold_version;
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset_withSeed(&state, seed);
    for (const auto part : {key, value}) {
        std::array<std::uint8_t, 4> length{};
        store_le(length.data(), static_cast<std::uint32_t>(part.size()));
        XXH3_128bits_update(&state, length.data(), length.size());
        XXH3_128bits_update(&state, part.data(), part.size());
    }
    const auto hash = XXH3_128bits_digest(&state);
    return static_cast<Sum>(hash.high64) << 64 | hash.low64;
}

Sum sum_of(const Digest& digest) {
    return static_cast<Sum>(load_le<std::uint64_t>(digest.data() + 8)) << 64 |
           load_le<std::uint64_t>(digest.data());
}

Digest digest_of(Sum sum) {
    Digest out{};
    store_le(out.data(), static_cast<std::uint64_t>(sum));
    store_le(out.data() + 8, static_cast<std::uint64_t>(sum >> 64));
    return out;
}

}  // namespace reeve::projection
