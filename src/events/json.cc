// Events as JSON objects, for people and tools. Text is always valid UTF-8; bytes that are not are
// replaced, so what matters byte for byte is read from the log itself.

#include <nlohmann/json.hpp>

#include "events/codec.h"

namespace reeve::events {
namespace {

using nlohmann::json;

json stream(const StreamRecord& s) {
    return {{"text", std::string(as_text(s.head))},
            {"total_bytes", s.total_bytes},
            {"kept_bytes", s.kept_bytes},
            {"sha256", to_hex(s.digest)},
            {"shipped", s.shipped}};
}

const char* outcome(Outcome value) {
    switch (value) {
        case Outcome::succeeded: return "succeeded";
        case Outcome::failed: return "failed";
        case Outcome::timeout: return "timeout";
        case Outcome::stopped: return "stopped";
    }
    return "unknown";
}

json fields(const NodeStarted& e) {
    return {{"node", e.node.v},
            {"incarnation", e.incarnation.v},
            {"role", e.role},
            {"roles", e.roles},
            {"labels", e.labels},
            {"slots", e.slots},
            {"cpus", e.cpus},
            {"memory_mb", e.memory_mb},
            {"level", e.level},
            {"version", e.version},
            {"heartbeat_ms", e.heartbeat_ms}};
}
json fields(const NodeStopped& e) {
    return {{"node", e.node.v}, {"incarnation", e.incarnation.v}, {"reason", e.reason}};
}
json fields(const JobSubmitted& e) {
    return {{"job", e.job.text()},
            {"document", e.document},
            {"spec_sha256", to_hex(e.spec_hash)},
            {"uid", e.uid},
            {"request_id", e.request_id},
            {"door", e.door == SubmitDoor::socket ? "socket" : "incoming"},
            {"origin", e.origin},
            {"retry_of", e.retry_of}};
}
json fields(const JobRejected& e) {
    return {{"origin", e.origin}, {"field", e.field}, {"reason", e.reason}, {"uid", e.uid}};
}
json fields(const JobOffered& e) {
    json nodes = json::array();
    for (const auto& s : e.scores) {
        nodes.push_back({{"node", s.node.v},
                         {"eligible", s.eligible},
                         {"reason", s.reason},
                         {"role_ppm", s.role_ppm},
                         {"success_ppm", s.success_ppm},
                         {"speed_ppm", s.speed_ppm},
                         {"recency_ppm", s.recency_ppm},
                         {"expected_ms", s.expected_ms},
                         {"cost_ms", s.cost_ms}});
    }
    return {{"attempt", e.attempt.text()}, {"nodes", std::move(nodes)}};
}
json fields(const JobStarted& e) {
    return {{"attempt", e.attempt.text()},
            {"node", e.node.v},
            {"incarnation", e.incarnation.v},
            {"spec_sha256", to_hex(e.spec_hash)},
            {"claimed", e.claimed}};
}
json fields(const JobFinished& e) {
    return {{"attempt", e.attempt.text()},
            {"node", e.node.v},
            {"outcome", outcome(e.outcome)},
            {"exit", e.exit},
            {"signal", e.signal},
            {"wall_ms", e.wall_ms},
            {"cpu_user_ms", e.cpu_user_ms},
            {"cpu_system_ms", e.cpu_system_ms},
            {"max_rss_kib", e.max_rss_kib},
            {"stdout", stream(e.out)},
            {"stderr", stream(e.err)},
            {"error", e.error},
            {"supervisor_number", e.supervisor_number}};
}
json fields(const JobReleased& e) {
    return {{"attempt", e.attempt.text()}, {"node", e.node.v}, {"reason", e.reason}};
}
json fields(const JobLost& e) {
    return {{"attempt", e.attempt.text()}, {"owner", e.owner.v}, {"reason", e.reason}};
}
json fields(const AttemptOpened& e) {
    return {
        {"attempt", e.attempt.text()}, {"not_before_ms", e.not_before_ms}, {"reason", e.reason}};
}
json fields(const JobEnded& e) {
    return {{"attempt", e.attempt.text()},
            {"ending", e.ending == Ending::failed ? "failed" : "cancelled"},
            {"reason", e.reason}};
}
json fields(const JobCancelRequested& e) {
    return {{"job", e.job.text()},
            {"uid", e.uid},
            {"request_id", e.request_id},
            {"give_up_lost", e.give_up_lost}};
}
json fields(const SwitchSet& e) {
    return {{"name", e.name},
            {"value", e.value},
            {"version", e.version},
            {"uid", e.uid},
            {"reason", e.reason}};
}
json fields(const NodeHealth& e) {
    return {{"node", e.node.v},
            {"state", e.state},
            {"running", e.running},
            {"load_milli", e.load_milli},
            {"memory_free_mb", e.memory_free_mb},
            {"disk_free_mb", e.disk_free_mb}};
}
json fields(const Observation& e) {
    return {{"kind", e.kind}, {"subject", e.subject}, {"detail", e.detail}};
}
json fields(const DigestTaken& e) { return {{"cut", e.cut}, {"digest", e.digest}}; }
json fields(const WriterRetired& e) {
    return {{"retired", e.writer.v},  {"serial", e.serial}, {"incarnation", e.incarnation},
            {"segment", e.segment},   {"end", e.end},       {"last_seq", e.seq},
            {"hash", to_hex(e.hash)}, {"reason", e.reason}, {"operator", to_hex(e.operator_key)}};
}
json fields(const PolicyLoaded& e) {
    json files = json::object();
    for (const auto& file : e.files) {
        files[file.name] = file.text;
    }
    return {{"version", e.version},
            {"files", files},
            {"hash", to_hex(policy_hash(e))},
            {"operator", to_hex(e.operator_key)}};
}
json fields(const LevelRaised& e) { return {{"level", e.level}}; }
json fields(const ForkSeen& e) {
    return {{"forked", e.writer.v},
            {"incarnation", e.incarnation},
            {"first_seq", e.seq},
            {"first", to_hex(e.first)},
            {"second", to_hex(e.second)}};
}
json fields(const ForkResolved& e) {
    return {{"resolved", e.writer.v},
            {"continues", e.continues},
            {"incarnation", e.incarnation},
            {"segment", e.segment},
            {"end", e.end},
            {"last_seq", e.seq},
            {"hash", to_hex(e.hash)},
            {"reason", e.reason},
            {"operator", to_hex(e.operator_key)}};
}
json fields(const Unknown& e) {
    return {{"type_id", e.type}, {"flatbuffer", to_hex(e.flatbuffer)}};
}

}  // namespace

std::string to_json(const Event& event) {
    json out = std::visit([](const auto& payload) { return fields(payload); }, event.payload);
    out["type"] = type_name(type_id(event.payload));
    out["writer"] = event.writer.v;
    out["seq"] = event.seq.v;
    out["hlc"] = event.hlc.v;
    out["hlc_ms"] = hlc_ms(event.hlc);
    return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace reeve::events
