#pragma once

// The projection: every log folded into local rows, with cursors and digest in the same
// transaction.
//
// Owned by one task (the loop), which calls apply(); any thread or process may read through
// Snapshot. Nothing in it is the truth: it can be deleted at any time and is built again from the
// logs. Rows are canonical bytes (docs/formats/projection.md), so equal cuts have equal digests
// (I5).

#include <array>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/format.h"
#include "events/events.h"
#include "projection/job_row.h"
#include "projection/kv/store.h"
#include "queue/door/door.h"

namespace reeve::projection {

/// Raised when the meaning of a fold changes: part of every row hash; a new one means a rebuild.
constexpr std::uint32_t fold_version = 5;

using Digest = std::array<std::uint8_t, 16>;

struct NodeRow {       // key: writer
    EventStamp stamp;  // greatest, of NodeStarted or NodeStopped
    NodeId node;
    Incarnation incarnation;
    std::string role;  // "worker" | "coord"
    std::vector<std::string> roles;
    std::vector<std::string> labels;
    std::uint32_t slots = 0;
    std::uint32_t cpus = 0;
    std::uint64_t memory_mb = 0;
    std::uint32_t level = events::first_level;  // the greatest event level that it knows
    std::string version;
    std::int64_t heartbeat_ms = 0;
    bool stopped = false;  // its last word was NodeStopped
};

struct SwitchRow {  // key: name; greatest (version, stamp)
    EventStamp stamp;
    std::string value;
    std::uint64_t version = 0;
    std::uint32_t uid = 0;
    std::string reason;
};

struct HealthRow {  // key: node; greatest stamp
    EventStamp stamp;
    events::NodeHealth health;
};

/// Statistics of (node, task type, UTC day): sums of contributions of job rows.
struct RoutingRow {
    std::uint64_t runs = 0, succeeded = 0, failed = 0, timeout = 0, lost = 0;
    std::array<std::uint32_t, 48>
        durations{};  // of successes; bucket floor(2*log2(max(1,wall_ms)))
};
std::size_t duration_bucket(std::int64_t wall_ms);
/// A representative duration of a bucket, in milliseconds.
std::int64_t bucket_ms(std::size_t bucket);

struct RoutingKey {
    NodeId node;
    std::string task_type;
    std::int64_t day = 0;  // days since 1970-01-01 UTC
    auto operator<=>(const RoutingKey&) const = default;
};

/// The bytes of an attempt's output that travelled in the log, or where the rest lies.
struct OutputRow {  // key: attempt; same precedence as FinishedMark
    EventStamp stamp;
    events::StreamRecord out;
    events::StreamRecord err;
};

/// Where a job stands in the indexes: derived from its row, never in the digest.
enum class IndexClass : std::uint8_t {
    pending = 'P',  // ordered by virtual time: submission - bonus of its priority (aging)
    timed = 'T',    // ordered by not_before_ms: claimable from then on
    after = 'A',    // waits for other jobs
    running = 'R',  // an attempt is started and not ended
    decide = 'D',   // a duty has something to decide now or at order_ms (open_next, end_*)
    lost = 'L',     // waits for a person
};
/// Where a job stands in line: its submission, earlier by ten minutes for each class of priority,
/// so that what waits grows older than any class (aging).
std::int64_t virtual_ms(const Submission& submission, const queue::JobSpec& spec);
struct IndexEntry {
    IndexClass index;
    std::int64_t order_ms = 0;
    JobId job;
};

/// One writer's place in the fold.
struct CursorRow {
    eventlog::LogPosition position;
    Hlc hlc;
};
using Cut = std::map<WriterId, CursorRow>;
/// Short hash (16 hex digits) of the vector of positions: the name of a cut.
std::string cut_name(const Cut& cut);

/// Thrown by a Snapshot whose store gave no answer: a row that does not verify is neither absent
/// nor empty, and whoever asked must not go on with either. Caught where the process, or the
/// request of a person, has its end: Loop::run, bulk_task, the commands.
class ViewFailed : public std::exception {
public:
    explicit ViewFailed(Error error) : error_(std::move(error)) {}
    const char* what() const noexcept override { return error_.message.c_str(); }
    const Error& error() const { return error_; }

private:
    Error error_;
};

/// Reads at one moment. Holds a read transaction: short-lived, not kept across an env call. Every
/// read throws ViewFailed when the store fails.
class Snapshot {
public:
    explicit Snapshot(std::unique_ptr<kv::ReadTransaction> transaction);
    /// Code::unavailable: what stands there is a part of a view that is being loaded, or the view
    /// of another build. For programs beside a daemon; Projection::open clears such a store.
    Status expect_built() const;
    std::optional<JobRow> job(const JobId& id) const;
    /// In index order from `from_order_ms`; until fn returns false.
    void index(IndexClass index, const std::function<bool(const IndexEntry&)>& fn) const;
    /// Every job in id order, newest first when `newest_first`; until fn returns false.
    void jobs(bool newest_first, const std::function<bool(const JobId&, const JobRow&)>& fn) const;
    std::vector<JobId> dependents(const JobId& id) const;
    std::optional<JobId> request(const std::string& request_id) const;
    std::optional<OutputRow> output(const AttemptId& attempt) const;
    std::map<WriterId, NodeRow> nodes() const;
    std::map<std::string, SwitchRow> switches() const;
    /// Signed words of whatever operator: what counts is decided by who has pinned them.
    std::vector<events::WriterRetired> retired() const;
    std::vector<events::PolicyLoaded> policies() const;
    /// Where logs end because two histories of them were seen.
    std::vector<events::ForkSeen> forks() const;
    /// Where such logs go on. Signed, like the words above.
    std::vector<events::ForkResolved> resolved() const;
    std::map<NodeId, HealthRow> health() const;
    std::map<RoutingKey, RoutingRow> routing() const;
    std::map<std::string, std::uint64_t> totals() const;  // jobs by state name
    /// Of the cluster: the greatest that a LevelRaised names.
    std::uint32_t level() const;
    std::vector<events::Event> observations(
        std::size_t newest) const;  // Observation and JobRejected
    Cut cut() const;
    Digest digest() const;
    /// Digest of each view, for `diff`.
    std::map<std::string, Digest> digests() const;

private:
    std::optional<Bytes> get(kv::Table table, ByteView key) const;
    void scan(kv::Table table, ByteView from, const kv::Visit& visit) const;
    void scan_back(kv::Table table, const kv::Visit& visit) const;
    void expect_read() const;

    std::unique_ptr<kv::ReadTransaction> transaction_;
};

struct Applied {
    std::set<JobId> changed;     // rows that changed
    bool nodes_changed = false;  // nodes, their states, switches, level, or operators' words
    std::size_t events = 0;
};

/// Events of one writer that end exactly at `position`.
struct FoldInput {
    WriterId writer;
    eventlog::LogPosition position;
    std::span<const events::Event> events;
};

struct BulkOptions;   // bulk.h
struct LoggedEvents;  // bulk.h
using NextEvents = std::function<const LoggedEvents*()>;

class Projection {
public:
    /// Clears a store whose rows another fold version wrote, or a build that knew other event
    /// types.
    static Result<std::unique_ptr<Projection>> open(kv::Store& store);
    /// Names of the tables, for opening the store.
    static std::span<const std::string_view> table_names();
    /// Folds, moves cursors and digest, commits: all or nothing. Inputs at or before a writer's
    /// cursor, or behind a gap, are refused with Code::conflict (the caller resumes from cut()).
    Result<Applied> apply(std::span<const FoldInput> inputs);
    /// Everything anew, from whole logs. After an error the view is empty; Code::corrupt: it cannot
    /// be cleared, and nothing may be folded into it.
    Status load(env::FileSystem& files, const NextEvents& next, const BulkOptions& options);
    Result<Snapshot> snapshot() const;
    const Cut& cut() const;  // of the last commit

private:
    explicit Projection(kv::Store& store);
    kv::Store& store_;
    Cut cut_;
};

}  // namespace reeve::projection
