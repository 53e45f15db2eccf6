#pragma once

// The event value types: what happened, as the log remembers it. Plain values that own their data.
// The stored form is FlatBuffers (schema/events.fbs, codec.h); ids of types are append-only and a
// change of meaning is a new type (docs/formats/eventlog.md).

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/signature.h"
#include "base/time.h"

namespace reeve::events {

/// The greatest level that this build knows. A level is a set of event types (codec.h: level_of);
/// one is added with the first type that a released build does not know (docs/upgrades.md).
constexpr std::uint32_t current_level = 2;
/// Of a cluster whose log says nothing else.
constexpr std::uint32_t first_level = 1;

/// A writer began a run. Replaces what was known of the writer's node.
struct NodeStarted {
    NodeId node;
    Incarnation incarnation;
    std::string role;                 // "worker" | "coord"
    std::vector<std::string> roles;   // declared, e.g. "storage"
    std::vector<std::string> labels;  // "key=value"
    std::uint32_t slots = 0;          // attempts at once; 0 for a coordinator
    std::uint32_t cpus = 0;
    std::uint64_t memory_mb = 0;
    std::uint32_t level = 1;  // the greatest that its build knows
    std::string version;
    std::int64_t heartbeat_ms = 0;
};

/// A clean end of a run.
struct NodeStopped {
    NodeId node;
    Incarnation incarnation;
    std::string reason;
};

enum class SubmitDoor : std::uint8_t { socket = 1, incoming = 2 };

/// A job was accepted at a door. `document` is the canonical JSON (door.h), `spec_hash` its
/// SHA-256.
struct JobSubmitted {
    JobId job;
    std::string document;
    Sha256 spec_hash{};
    std::uint32_t uid = 0;
    std::string request_id;  // of the client; a repeated one is the same submission
    SubmitDoor door = SubmitDoor::socket;
    std::string origin;    // name of the dropped file, empty for a socket
    std::string retry_of;  // text of a job id, or empty
};

/// A document was refused at a door.
struct JobRejected {
    std::string origin;
    std::string field;   // JSON pointer of the offending field, e.g. "/retry/max"
    std::string reason;  // what, why, how to mend
    std::uint32_t uid = 0;
};

/// Why one node stands where it does in an offer. Integers only, so that replay recomputes it.
struct OfferScore {
    NodeId node;
    bool eligible = false;
    std::string reason;          // of exclusion; empty when eligible
    std::uint32_t role_ppm = 0;  // the four terms of the routing page, in parts per million
    std::uint32_t success_ppm = 0;
    std::uint32_t speed_ppm = 0;
    std::uint32_t recency_ppm = 0;
    std::int64_t expected_ms = 0;  // expected completion
    std::int64_t cost_ms = 0;      // expected completion / probability of success
};

/// The router's order for an attempt: best node first. Advice, never a right.
struct JobOffered {
    AttemptId attempt;
    std::vector<OfferScore> scores;  // eligible in order of preference, then excluded; at most 16
};

/// The executing node's own word, durable before exec (I3). Names the hash of what will run.
struct JobStarted {
    AttemptId attempt;
    NodeId node;
    Incarnation incarnation;
    Sha256 spec_hash{};
    bool claimed = true;  // false: own submission started at once, no claim was needed
};

enum class Outcome : std::uint8_t { succeeded = 1, failed = 2, timeout = 3, stopped = 4 };

struct StreamRecord {
    Bytes head;  // whole stream when it fits inline
    std::uint64_t total_bytes = 0;
    std::uint64_t kept_bytes = 0;  // beyond the cap output is cut; kept < total says so
    Sha256 digest{};               // of the kept bytes
    bool shipped = false;          // kept bytes lie in results/ (true) or inline (false)
};

/// How an attempt ended, by its owner.
struct JobFinished {
    AttemptId attempt;
    NodeId node;
    Outcome outcome = Outcome::failed;
    std::int32_t exit = 0;
    std::int32_t signal = 0;
    std::int64_t wall_ms = 0;
    std::int64_t cpu_user_ms = 0;
    std::int64_t cpu_system_ms = 0;
    std::int64_t max_rss_kib = 0;
    StreamRecord out;
    StreamRecord err;
    std::string error;                    // why exec failed, or empty
    std::uint64_t supervisor_number = 0;  // ExecOutcome::number, to acknowledge after a restart
};

/// The owner gives an attempt back: nothing of it ran and nothing will.
struct JobReleased {
    AttemptId attempt;
    NodeId node;
    std::string reason;
};

/// Someone (the owner itself, or a duty after proven silence) cannot say what became of an attempt.
struct JobLost {
    AttemptId attempt;
    WriterId owner;
    std::string reason;
};

/// Attempt k is open for claims from `not_before_ms` on (wall clock).
struct AttemptOpened {
    AttemptId attempt;
    std::int64_t not_before_ms = 0;
    std::string reason;  // "retry: failed" | "released" ...
};

enum class Ending : std::uint8_t { failed = 1, cancelled = 2 };

/// The job is over without a success. Written by who won the contested name `attempt`.
struct JobEnded {
    AttemptId attempt;  // the name that was won
    Ending ending = Ending::failed;
    std::string
        reason;  // "retries used up" | "dependency" | "deadline" | "cancel requested by uid 0"
};

struct JobCancelRequested {
    JobId job;
    std::uint32_t uid = 0;
    std::string request_id;
    bool give_up_lost = false;  // a person declares that lost attempts will never be heard of
};

/// A switch set by a person, e.g. "drain/nova" = "on". Ordered by (version, hlc, writer).
struct SwitchSet {
    std::string name;
    std::string value;
    std::uint64_t version = 0;
    std::uint32_t uid = 0;
    std::string reason;
};

/// A node's word about itself, on a change of state, else every 60 s.
struct NodeHealth {
    NodeId node;
    std::string state;  // "ok" | "degraded: <what>"
    std::uint32_t running = 0;
    std::uint32_t load_milli = 0;  // 1-minute load average x 1000
    std::uint64_t memory_free_mb = 0;
    std::uint64_t disk_free_mb = 0;
};

/// An observation worth a person's attention (corruption, rollback, a refused file).
struct Observation {
    std::string kind;  // "log.corrupt" | "nas.rolled_back" | ...
    std::string subject;
    std::string detail;
};

struct DigestTaken {
    std::string cut;     // short hash of the vector
    std::string digest;  // hexadecimal
};

/// Which cluster a signed word is about: 16 bytes, as in a segment header.
using ClusterBytes = std::array<std::uint8_t, 16>;

/// An operator's word that a writer is gone: its log is read up to this position and no further,
/// and nobody waits for it. Lifted for segments that a certificate of a greater serial signs.
struct WriterRetired {
    WriterId writer;
    std::uint64_t serial = 0;  // of its certificate, the greatest that is retired
    std::uint64_t incarnation = 0;
    std::uint64_t segment = 0;
    std::uint64_t end = 0;
    std::uint64_t seq = 0;
    Sha256 hash{};
    std::string reason;
    PublicKey operator_key{};
    Signature signature{};
    ClusterBytes cluster{};
};
/// What its signature covers: everything but key and signature.
Bytes signed_part(const WriterRetired& event);

struct PolicyFile {
    std::string name;  // "retention.toml"
    std::string text;
};

/// A policy, whole: the one in force is that of the greatest (version, hash).
struct PolicyLoaded {
    std::uint64_t version = 0;
    std::vector<PolicyFile> files;  // by name
    PublicKey operator_key{};
    Signature signature{};
    ClusterBytes cluster{};
};
Bytes signed_part(const PolicyLoaded& event);
/// Names the policy's content: SHA-256 of names and texts.
Sha256 policy_hash(const PolicyLoaded& event);

/// From here on writers use the event types of this level: every writer knows them. Never lowered.
struct LevelRaised {
    std::uint32_t level = 0;
};

/// Two different verified batches of one writer begin with this event: a clone, or tampering. The
/// log ends before it in every view. Two observers make one fact: the hashes are ordered.
struct ForkSeen {
    WriterId writer;
    std::uint64_t incarnation = 0;  // the lesser of those of the two batches
    std::uint64_t seq = 0;          // of their first event
    Sha256 first{};                 // of the batch with the lesser hash
    Sha256 second{};
};

/// An operator's word that a log which was cut goes on: at this position, the last before its fork,
/// in incarnations from `continues` on. What stands behind the cut stays unread.
struct ForkResolved {
    WriterId writer;
    std::uint64_t continues = 0;
    std::uint64_t incarnation = 0;  // 0: the log begins anew
    std::uint64_t segment = 0;
    std::uint64_t end = 0;
    std::uint64_t seq = 0;
    Sha256 hash{};
    std::string reason;
    PublicKey operator_key{};
    Signature signature{};
    ClusterBytes cluster{};
};
Bytes signed_part(const ForkResolved& event);

/// An event of a type that this build does not know: kept and counted, never guessed.
struct Unknown {
    std::uint16_t type = 0;
    Bytes flatbuffer{};  // as it stands in the log
};

using Payload =
    std::variant<NodeStarted, NodeStopped, JobSubmitted, JobRejected, JobOffered, JobStarted,
                 JobFinished, JobReleased, JobLost, AttemptOpened, JobEnded, JobCancelRequested,
                 SwitchSet, NodeHealth, Observation, DigestTaken, WriterRetired, PolicyLoaded,
                 LevelRaised, ForkSeen, ForkResolved, Unknown>;

/// One event. `writer` and `seq` are where it stands, known from the batch, not stored again in it.
struct Event {
    Hlc hlc;
    WriterId writer;
    Seq seq;
    Payload payload;
    EventStamp stamp() const { return {hlc, writer, seq}; }
};

}  // namespace reeve::events
