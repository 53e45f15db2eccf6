// The state of a job as a pure function of its row. The four rules of the jobs page, in this order:
// a success is a success; nothing terminal while an attempt is unresolved; an owner's word replaces
// an observation; what follows an attempt is one contested name.

#include <algorithm>

#include "projection/job_row.h"

namespace reeve::projection {
namespace {

constexpr std::int64_t longest_grown_backoff_ms = 3'600'000;

struct Judge {
    const JobRow& row;
    const StateRules& rules;
    AttemptNo k;

    bool given_up(const AttemptRow& attempt) const {
        return attempt.loss() != nullptr && !attempt.finished && row.cancel &&
               row.cancel->give_up_lost;
    }
    bool open_fate(const AttemptRow& attempt) const {
        return attempt.unresolved() && !given_up(attempt);
    }
    bool any_unresolved(AttemptNo except = AttemptNo(0)) const {
        return std::any_of(row.attempts.begin(), row.attempts.end(), [&](const auto& one) {
            return one.first != except && open_fate(one.second);
        });
    }
    /// An earlier attempt that was started counts although nothing is known of its end: the next
    /// one was opened by somebody who knew, and whose word has not arrived.
    std::uint32_t used() const {
        return static_cast<std::uint32_t>(
            std::count_if(row.attempts.begin(), row.attempts.end(), [this](const auto& one) {
                const auto phase = one.second.phase();
                return phase == Phase::lost || phase == Phase::stopped || phase == Phase::timeout ||
                       phase == Phase::failed || (phase == Phase::started && one.first < k);
            }));
    }
    bool retry_allowed(Phase phase) const {
        // A node that stopped the command because it was cut off lost it knowingly.
        const bool lost = phase == Phase::lost || phase == Phase::stopped;
        const bool kind = (phase == Phase::failed && rules.retry_failed) ||
                          (phase == Phase::timeout && rules.retry_timeout) ||
                          (lost && rules.retry_lost);
        return kind && used() <= rules.retry_max;
    }

    Situation make(JobState state, Next next, std::string reason = "") const {
        Situation out;
        out.state = state;
        out.next = next;
        out.attempt = k;
        out.contested = k.next();
        out.reason = std::move(reason);
        return out;
    }
    Situation cancel(AttemptNo name) const {
        auto out = make(JobState::cancelling, Next::end_cancelled,
                        "cancel requested by uid " + std::to_string(row.cancel->uid));
        out.contested = name;
        return out;
    }
    Situation open_next(std::int64_t not_before_ms, std::string reason) const {
        auto out = make(JobState::waiting, Next::open_next, std::move(reason));
        out.not_before_ms = not_before_ms;
        return out;
    }
    Situation retry(std::int64_t ended_ms, const std::string& what) const {
        std::int64_t backoff = rules.backoff_ms;
        const auto longest = std::max(rules.backoff_ms, longest_grown_backoff_ms);
        for (std::uint32_t i = 1; i < used() && backoff < longest; ++i) {
            backoff *= 2;
        }
        auto out = open_next(ended_ms + std::min(backoff, longest), "retry: " + what);
        out.backoff_ms = std::min(backoff, longest);
        return out;
    }

    Situation ended(const AttemptRow& attempt) const {
        const auto phase = attempt.phase();
        const auto& end = *attempt.finished;
        if (row.cancel) {
            return any_unresolved()
                       ? make(JobState::lost, Next::ask_person, "an earlier attempt is lost")
                       : cancel(k.next());
        }
        const std::string what =
            !end.error.empty()        ? "not started: " + end.error
            : phase == Phase::stopped ? "stopped by its node, which was cut off or shut down"
            : phase == Phase::timeout ? "timed out after " + std::to_string(end.wall_ms) + " ms"
            : end.signal != 0         ? "ended by signal " + std::to_string(end.signal)
                                      : "exit " + std::to_string(end.exit);
        if (retry_allowed(phase)) {
            return retry(hlc_ms(end.stamp.hlc), what);
        }
        if (any_unresolved()) {
            return make(JobState::lost, Next::ask_person,
                        "an earlier attempt is lost; the last one: " + what);
        }
        return make(
            JobState::ending, Next::end_failed,
            rules.retry_max > 0 && used() > rules.retry_max ? what + ", retries used up" : what);
    }

    Situation lost(const AttemptRow& attempt) const {
        const auto& mark = *attempt.loss();
        const std::string what = "lost: " + mark.reason;
        const bool closed = mark.by_owner || given_up(attempt);
        if (row.cancel) {
            return closed && !any_unresolved() ? cancel(k.next())
                                               : make(JobState::lost, Next::ask_person, what);
        }
        if (retry_allowed(Phase::lost)) {
            return retry(hlc_ms(mark.stamp.hlc), what);
        }
        if (rules.retry_lost && closed && !any_unresolved()) {
            return make(JobState::ending, Next::end_failed, what + ", retries used up");
        }
        return make(JobState::lost, Next::ask_person, what);
    }

    Situation open(const AttemptRow* attempt) const {
        if (row.cancel) {
            return any_unresolved()
                       ? make(JobState::lost, Next::ask_person, "an earlier attempt is lost")
                       : cancel(k);
        }
        const bool opened = attempt != nullptr && attempt->opened;
        if (rules.has_after && k == AttemptNo(1) && !opened) {
            return make(JobState::waiting, Next::resolve_after, "waits for other jobs");
        }
        auto out = make(JobState::pending, Next::claim, opened ? attempt->opened->reason : "");
        out.not_before_ms =
            std::max(rules.not_before_ms, opened ? attempt->opened->not_before_ms : 0);
        return out;
    }
};

}  // namespace

Situation situation_of(const JobRow& row, const StateRules& rules) {
    Judge judge{row, rules, row.current()};
    if (row.submissions.empty()) {
        return judge.make(JobState::unknown, Next::nothing);
    }
    for (const auto& [k, attempt] : row.attempts) {
        if (attempt.phase() == Phase::succeeded) {
            return judge.make(JobState::succeeded, Next::nothing);
        }
    }
    if (row.ended && !judge.any_unresolved()) {
        return judge.make(
            row.ended->ending == events::Ending::failed ? JobState::failed : JobState::cancelled,
            Next::nothing, row.ended->reason);
    }
    const auto* attempt = row.attempt(judge.k);
    if (attempt != nullptr && attempt->finished) {
        return judge.ended(*attempt);
    }
    if (attempt != nullptr && attempt->loss() != nullptr) {
        return judge.lost(*attempt);
    }
    if (attempt != nullptr && attempt->has_unreleased_start()) {
        return row.cancel ? judge.make(JobState::cancelling, Next::stop, "its node stops it")
                          : judge.make(JobState::running, Next::wait_for_end);
    }
    if (attempt != nullptr && attempt->released()) {
        if (row.cancel) {
            return judge.any_unresolved()
                       ? judge.make(JobState::lost, Next::ask_person, "an earlier attempt is lost")
                       : judge.cancel(judge.k.next());
        }
        return judge.open_next(0, "released");
    }
    return judge.open(attempt);
}

}  // namespace reeve::projection
