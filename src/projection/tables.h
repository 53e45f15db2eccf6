#pragma once

// Tables, keys and row bytes of the projection; private to it. docs/formats/projection.md gives
// them.

#include <array>
#include <optional>
#include <string_view>

#include "projection/projection.h"
#include "projection/row_bytes.h"

namespace reeve::projection {

namespace table {
constexpr kv::Table meta{0}, jobs{1}, outputs{2}, nodes{3}, switches{4}, health{5}, routing{6},
    requests{7}, index{8}, dependents{9}, totals{10}, observations{11}, retired{12}, policy{13},
    cluster{14}, forks{15}, resolved{16};
constexpr std::array<std::string_view, 17> names = {
    "meta",    "jobs",     "outputs", "nodes",      "switches", "health",
    "routing", "requests", "index",   "dependents", "totals",   "observations",
    "retired", "policy",   "cluster", "forks",      "resolved"};
/// Views whose rows are functions of events alone: those in the digest.
constexpr std::array<kv::Table, 12> digested = {jobs,   outputs, nodes,    switches,
                                                health, routing, requests, retired,
                                                policy, cluster, forks,    resolved};
}  // namespace table

inline std::string_view table_name(kv::Table t) {
    return table::names[static_cast<std::size_t>(t)];
}

/// Big-endian, so that keys order like numbers; signed values are shifted by half the range.
Bytes be64(std::uint64_t v);
Bytes ordered(std::int64_t v);
std::uint64_t from_be64(ByteView bytes);
std::int64_t from_ordered(ByteView bytes);

/// Row `fold_version` of meta: the version, and how many event types the build knew.
Bytes fold_version_row();
Bytes job_key(const JobId& job);
Bytes attempt_key(const AttemptId& attempt);
Bytes index_key(const IndexEntry& entry);
std::optional<IndexEntry> parse_index_key(ByteView key);
Bytes dependent_key(const JobId& other, const JobId& job);
Bytes routing_key(const RoutingKey& key);
RoutingKey parse_routing_key(ByteView key);
Bytes cursor_key(const WriterId& writer);
Bytes digest_key(kv::Table view);

Bytes encode(const NodeRow& row);
NodeRow decode_node(ByteView bytes);
Bytes encode(const SwitchRow& row);
SwitchRow decode_switch(ByteView bytes);
Bytes encode(const HealthRow& row);
HealthRow decode_health(ByteView bytes);
Bytes encode(const RoutingRow& row);
RoutingRow decode_routing(ByteView bytes);
Bytes encode(const OutputRow& row);
OutputRow decode_output(ByteView bytes);
Bytes encode(const CursorRow& row);
CursorRow decode_cursor(ByteView bytes);
/// Operator, cluster and writer; operator and cluster.
Bytes retired_key(const events::WriterRetired& row);
Bytes policy_key(const events::PolicyLoaded& row);
/// Writer, incarnation, number and both hashes; operator, cluster, writer and last number.
Bytes fork_key(const events::ForkSeen& row);
events::ForkSeen parse_fork_key(ByteView key);
Bytes resolved_key(const events::ForkResolved& row);
/// forks: which event says so first.
Bytes encode(const EventStamp& stamp);
EventStamp decode_stamp(ByteView bytes);
Bytes encode(const events::ForkResolved& row);
events::ForkResolved decode_resolved(ByteView bytes);
Bytes encode(const events::WriterRetired& row);
events::WriterRetired decode_retired(ByteView bytes);
Bytes encode(const events::PolicyLoaded& row);
events::PolicyLoaded decode_policy(ByteView bytes);
/// requests: the submission with the least stamp.
struct RequestRow {
    EventStamp stamp;
    JobId job;
};
Bytes encode(const RequestRow& row);
RequestRow decode_request(ByteView bytes);

/// cluster, key "level": the greatest level, and the least stamp that says so.
struct LevelRow {
    EventStamp stamp;
    std::uint32_t level = 0;
};
constexpr std::string_view level_key = "level";
Bytes encode(const LevelRow& row);
LevelRow decode_level(ByteView bytes);

Cut read_cut(kv::ReadTransaction& transaction);

}  // namespace reeve::projection
