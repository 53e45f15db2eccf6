#pragma once

// The row of a job: a join of everything any log says about it, and the state as a pure function of
// it.
//
//   JobSubmitted, AttemptOpened, JobOffered, JobStarted, JobReleased, JobLost, JobFinished,
//   JobEnded, JobCancelRequested  --fold-->  JobRow  --state_of-->  JobState
//
// Folding the same events in any order, any number of times, gives the same row and the same bytes
// (I5): every field is a set union, a least, or a greatest by (rank, stamp).

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "events/events.h"

namespace reeve::projection {

/// One submission under this job id. More than one only for a dedupe key raced on two nodes.
struct Submission {
    EventStamp stamp;  // least
    std::string document;
    std::uint32_t uid = 0;
    std::string request_id;
    events::SubmitDoor door = events::SubmitDoor::socket;
    std::string origin;
    std::string retry_of;
};

/// Ranks of what is known of an attempt; the greatest (rank, stamp) gives its fields.
enum class Phase : std::uint8_t {
    unknown = 0,
    opened = 1,
    started = 2,
    lost = 3,
    stopped = 4,
    timeout = 5,
    failed = 6,
    succeeded = 7,
};

/// A writer's word that it took the attempt, and whether it gave it back.
struct StartMark {
    EventStamp started_at;    // greatest JobStarted of the writer; hlc 0: none
    EventStamp released_at;   // greatest JobReleased of the writer; hlc 0: none
    bool started = false;     // started_at is set
    bool released = false;    // released_at is after started_at: one writer's stamps never tie
    Incarnation incarnation;  // greatest
    NodeId node;
    Sha256 spec_hash{};
    bool claimed = true;
    EventStamp stamp;  // greatest, of JobStarted when started, else of JobReleased
};

struct OpenedMark {
    EventStamp stamp;  // greatest
    std::int64_t not_before_ms = 0;
    std::string reason;
};

struct LostMark {
    EventStamp stamp;  // greatest by (by_owner, stamp)
    WriterId owner;
    std::string reason;
    bool by_owner = false;  // the owner itself says so: nothing of the attempt runs any more
};

/// How an attempt ended, without the output bytes (those are rows of `outputs`).
struct FinishedMark {
    EventStamp stamp;  // greatest by (outcome rank, stamp)
    events::Outcome outcome = events::Outcome::failed;
    NodeId node;
    std::int32_t exit = 0;
    std::int32_t signal = 0;
    std::int64_t wall_ms = 0;
    std::int64_t cpu_user_ms = 0;
    std::int64_t cpu_system_ms = 0;
    std::int64_t max_rss_kib = 0;
    std::string error;
};

struct AttemptRow {
    std::map<WriterId, StartMark> starts;
    std::optional<OpenedMark> opened;
    std::optional<LostMark> lost;
    std::optional<FinishedMark> finished;

    Phase phase() const;
    /// The word that it is lost, unless the owner has said since that nothing of it ran: only the
    /// owner knows, and a release is its word.
    const LostMark* loss() const;
    /// Some writer started it and has not released it.
    bool has_unreleased_start() const;
    /// Started by somebody, and neither ended nor declared lost by its owner: it may still be
    /// running.
    bool unresolved() const;
    /// Every writer that started or claimed it has released it, and at least one has.
    bool released() const;
};

struct CancelMark {
    EventStamp stamp;  // least
    std::uint32_t uid = 0;
    bool give_up_lost = false;  // or of all requests
};

struct EndedMark {
    EventStamp stamp;  // least: the name was won once
    AttemptNo attempt;
    events::Ending ending = events::Ending::failed;
    std::string reason;
};

struct OfferMark {
    EventStamp stamp;  // greatest by (attempt, stamp)
    AttemptNo attempt;
    std::vector<events::OfferScore> scores;
};

struct JobRow {
    std::map<Sha256, Submission> submissions;
    std::map<AttemptNo, AttemptRow> attempts;
    std::optional<CancelMark> cancel;
    std::optional<EndedMark> ended;
    std::optional<OfferMark> offer;

    /// The submission whose hash the first start names, else the one with the least stamp; null
    /// when only later events of the job have arrived.
    const Submission* submission() const;
    Sha256 spec_hash() const;
    /// The greatest attempt that was opened, started, released, lost or finished; 1 for a new job.
    AttemptNo current() const;
    const AttemptRow* attempt(AttemptNo k) const;
};

/// Folds one event that concerns a job. False when the payload concerns no job.
bool fold(JobRow& row, const events::Event& event);
/// Which job an event concerns, if any.
std::optional<JobId> job_of(const events::Payload& payload);

Bytes encode(const JobRow& row);
Result<JobRow> decode_job_row(ByteView bytes);

enum class JobState : std::uint8_t {
    unknown,  // no submission has arrived yet
    waiting,  // for `after`, a time, or a back-off
    pending,  // open: a worker may claim it
    running,
    ending,      // ended its last attempt; the name that closes the job is not won yet
    cancelling,  // cancel requested, not yet settled
    succeeded,
    failed,
    cancelled,
    lost,  // an attempt's fate is unknown and no retry is allowed: a person decides
};
std::string_view state_name(JobState state);
bool is_terminal(JobState state);  // succeeded, failed, cancelled

/// What has to happen next for the job, and who waits for what: state_of and the duties share it.
enum class Next : std::uint8_t {
    nothing,        // terminal, or unknown
    resolve_after,  // attempt 1 waits for other jobs: open it, or end it with reason "dependency"
    claim,          // attempt `attempt` may be claimed once its time has come
    wait_for_end,   // an attempt runs; a worker reports
    stop,           // an attempt runs and cancel was requested: its owner stops it
    open_next,      // open attempt+1 (retry or release)
    end_failed,     // win attempt+1 as "ended"
    end_cancelled,  // win `attempt` (never started) or attempt+1 as "cancelled"
    ask_person,     // lost
};

struct Situation {
    JobState state = JobState::unknown;
    Next next = Next::nothing;
    AttemptNo attempt;    // the attempt that `next` is about
    AttemptNo contested;  // the name to win for end_failed / end_cancelled
    std::int64_t not_before_ms =
        0;                        // earliest claim, or when to open_next (back-off already added)
    std::int64_t backoff_ms = 0;  // of open_next: the part of not_before_ms that is waiting
    std::string reason;           // why it waits, for people; or the reason to record
};

/// The parts of a job's document that the state depends on; from queue::parse_canonical, or
/// defaults.
struct StateRules {
    bool has_after = false;
    std::int64_t not_before_ms = 0;
    std::int64_t deadline_ms = 0;  // 0: none
    std::uint32_t retry_max = 0;
    std::int64_t backoff_ms = 0;  // doubles with each used retry, at most an hour
    bool retry_failed = false;
    bool retry_timeout = false;
    bool retry_lost = false;
};

/// The pure function of the jobs page. Without a clock: `not_before_ms` says when waiting ends, the
/// caller compares. The four rules of "States" hold for every set of events.
Situation situation_of(const JobRow& row, const StateRules& rules);

}  // namespace reeve::projection
