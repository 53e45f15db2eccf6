#include "projection/job_row.h"

#include <algorithm>

#include "projection/row_bytes.h"

namespace reeve::projection {
namespace {

using namespace events;

void fold_into(JobRow& row, const Event& event, const JobSubmitted& e) {
    auto [at, added] = row.submissions.try_emplace(e.spec_hash);
    if (added || event.stamp() < at->second.stamp) {
        at->second = {event.stamp(), e.document, e.uid, e.request_id, e.door, e.origin, e.retry_of};
    }
}

void fold_into(JobRow& row, const Event& event, const JobOffered& e) {
    const auto key = std::pair(e.attempt.attempt, event.stamp());
    if (!row.offer || std::pair(row.offer->attempt, row.offer->stamp) < key) {
        row.offer = OfferMark{event.stamp(), e.attempt.attempt, e.scores};
    }
}

void fold_into(JobRow& row, const Event& event, const JobStarted& e) {
    auto& mark = row.attempts[e.attempt.attempt].starts[event.writer];
    if (mark.started_at < event.stamp()) {
        mark.started_at = event.stamp();
        mark.incarnation = e.incarnation;
        mark.node = e.node;
        mark.spec_hash = e.spec_hash;
        mark.claimed = e.claimed;
    }
    settle_mark(mark);
}

void fold_into(JobRow& row, const Event& event, const JobReleased& e) {
    auto& mark = row.attempts[e.attempt.attempt].starts[event.writer];
    mark.released_at = std::max(mark.released_at, event.stamp());
    if (mark.started_at.hlc.v == 0) {
        mark.node = e.node;
    }
    settle_mark(mark);
}

void fold_into(JobRow& row, const Event& event, const JobLost& e) {
    auto& lost = row.attempts[e.attempt.attempt].lost;
    const bool by_owner = e.owner == event.writer;
    if (!lost || std::pair(lost->by_owner, lost->stamp) < std::pair(by_owner, event.stamp())) {
        lost = LostMark{event.stamp(), e.owner, e.reason, by_owner};
    }
}

int rank_of(Outcome outcome) {
    switch (outcome) {
        case Outcome::stopped: return 1;
        case Outcome::timeout: return 2;
        case Outcome::failed: return 3;
        case Outcome::succeeded: return 4;
    }
    return 0;
}

void fold_into(JobRow& row, const Event& event, const JobFinished& e) {
    auto& end = row.attempts[e.attempt.attempt].finished;
    if (!end || std::pair(rank_of(end->outcome), end->stamp) <
                    std::pair(rank_of(e.outcome), event.stamp())) {
        end = FinishedMark{event.stamp(), e.outcome,     e.node,          e.exit,        e.signal,
                           e.wall_ms,     e.cpu_user_ms, e.cpu_system_ms, e.max_rss_kib, e.error};
    }
}

void fold_into(JobRow& row, const Event& event, const AttemptOpened& e) {
    auto& opened = row.attempts[e.attempt.attempt].opened;
    if (!opened || opened->stamp < event.stamp()) {
        opened = OpenedMark{event.stamp(), e.not_before_ms, e.reason};
    }
}

void fold_into(JobRow& row, const Event& event, const JobEnded& e) {
    if (!row.ended || event.stamp() < row.ended->stamp) {
        row.ended = EndedMark{event.stamp(), e.attempt.attempt, e.ending, e.reason};
    }
}

void fold_into(JobRow& row, const Event& event, const JobCancelRequested& e) {
    const bool give_up = e.give_up_lost || (row.cancel && row.cancel->give_up_lost);
    if (!row.cancel || event.stamp() < row.cancel->stamp) {
        row.cancel = CancelMark{event.stamp(), e.uid, give_up};
    }
    row.cancel->give_up_lost = give_up;
}

template <typename T>
concept Folds = requires(JobRow& row, const Event& event, const T& e) {
    fold_into(row, event, e);
};

template <typename T>
concept OfAttempt = requires(const T& e) {
    e.attempt.job;
};
template <typename T>
concept OfJob = requires(const T& e) {
    { e.job } -> std::convertible_to<JobId>;
};

}  // namespace

void settle_mark(StartMark& mark) {
    mark.started = mark.started_at.hlc.v != 0;
    mark.released = mark.released_at.hlc.v != 0 && mark.started_at < mark.released_at;
    mark.stamp = mark.started ? mark.started_at : mark.released_at;
}

bool fold(JobRow& row, const Event& event) {
    return std::visit(
        [&]<typename T>(const T& payload) {
            if constexpr (Folds<T>) {
                fold_into(row, event, payload);
                return true;
            } else {
                return false;
            }
        },
        event.payload);
}

std::optional<JobId> job_of(const Payload& payload) {
    return std::visit(
        []<typename T>(const T& e) -> std::optional<JobId> {
            if constexpr (OfAttempt<T>) {
                return e.attempt.job;
            } else if constexpr (OfJob<T>) {
                return e.job;
            } else {
                return std::nullopt;
            }
        },
        payload);
}

bool AttemptRow::has_unreleased_start() const {
    return std::any_of(starts.begin(), starts.end(),
                       [](const auto& one) { return one.second.started && !one.second.released; });
}

Phase AttemptRow::phase() const {
    if (finished) {
        switch (finished->outcome) {
            case Outcome::succeeded: return Phase::succeeded;
            case Outcome::failed: return Phase::failed;
            case Outcome::timeout: return Phase::timeout;
            case Outcome::stopped: return Phase::stopped;
        }
    }
    if (loss() != nullptr) {
        return Phase::lost;
    }
    if (has_unreleased_start()) {
        return Phase::started;
    }
    return opened ? Phase::opened : Phase::unknown;
}

bool AttemptRow::unresolved() const {
    if (finished) {
        return false;
    }
    const auto* mark = loss();
    return mark != nullptr ? !mark->by_owner : has_unreleased_start();
}

const LostMark* AttemptRow::loss() const {
    if (!lost) {
        return nullptr;
    }
    const auto owner = starts.find(lost->owner);
    const bool given_back = owner != starts.end() && owner->second.released && !lost->by_owner;
    return given_back ? nullptr : &*lost;
}

bool AttemptRow::released() const {
    return !starts.empty() && std::all_of(starts.begin(), starts.end(),
                                          [](const auto& one) { return one.second.released; });
}

const Submission* JobRow::submission() const {
    const Submission* least = nullptr;
    for (const auto& [hash, one] : submissions) {
        least = least == nullptr || one.stamp < least->stamp ? &one : least;
    }
    for (const auto& [k, attempt] : attempts) {
        for (const auto& [writer, mark] : attempt.starts) {
            const auto named = mark.started ? submissions.find(mark.spec_hash) : submissions.end();
            if (named != submissions.end()) {
                return &named->second;
            }
        }
    }
    return least;
}

Sha256 JobRow::spec_hash() const {
    const auto* chosen = submission();
    for (const auto& [hash, one] : submissions) {
        if (&one == chosen) {
            return hash;
        }
    }
    return {};
}

AttemptNo JobRow::current() const {
    return attempts.empty() ? AttemptNo(1) : attempts.rbegin()->first;
}

const AttemptRow* JobRow::attempt(AttemptNo k) const {
    const auto found = attempts.find(k);
    return found == attempts.end() ? nullptr : &found->second;
}

std::string_view state_name(JobState state) {
    switch (state) {
        case JobState::unknown: return "unknown";
        case JobState::waiting: return "waiting";
        case JobState::pending: return "pending";
        case JobState::running: return "running";
        case JobState::ending: return "ending";
        case JobState::cancelling: return "cancelling";
        case JobState::succeeded: return "succeeded";
        case JobState::failed: return "failed";
        case JobState::cancelled: return "cancelled";
        case JobState::lost: return "lost";
    }
    return "unknown";
}

bool is_terminal(JobState state) {
    return state == JobState::succeeded || state == JobState::failed ||
           state == JobState::cancelled;
}

}  // namespace reeve::projection
