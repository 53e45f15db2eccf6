// Event values to FlatBuffers and back. One encode and one decode a type, in the order of the
// union.

#include "events/codec.h"

#include <algorithm>

#include "events_generated.h"

namespace reeve::events {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;
template <typename T>
using Made = flatbuffers::Offset<T>;
using Raw = flatbuffers::Vector<std::uint8_t>;

constexpr std::size_t max_depth = 16;
constexpr std::size_t max_tables = 2048;

auto put_bytes(Builder& b, ByteView bytes) { return b.CreateVector(bytes.data(), bytes.size()); }
auto put_text(Builder& b, const std::string& text) { return b.CreateString(text); }
auto put_job(Builder& b, const JobId& job) { return put_bytes(b, job.bytes); }

std::string text(const flatbuffers::String* s) { return s == nullptr ? std::string() : s->str(); }
Bytes bytes(const Raw* v) { return v == nullptr ? Bytes() : Bytes(v->begin(), v->end()); }

std::vector<std::string> texts(const flatbuffers::Vector<Made<flatbuffers::String>>* v) {
    std::vector<std::string> out;
    for (flatbuffers::uoffset_t i = 0; v != nullptr && i < v->size(); ++i) {
        out.push_back(text(v->Get(i)));
    }
    return out;
}

/// A fixed-size field: false when its length is wrong.
template <std::size_t N>
bool fixed(std::array<std::uint8_t, N>& to, const Raw* from) {
    if (from == nullptr || from->size() != N) {
        return false;
    }
    std::copy(from->begin(), from->end(), to.begin());
    return true;
}

bool valid(AttemptNo attempt) { return attempt.v > 0 && attempt <= greatest_attempt; }

template <typename T>
concept OfAttempt = requires(const T& e) {
    { e.attempt } -> std::convertible_to<AttemptId>;
};

template <typename Table>
bool attempt(AttemptId& to, const Table& t) {
    to.attempt = AttemptNo(t.attempt());
    return fixed(to.job.bytes, t.job()) && valid(to.attempt);
}

Made<void> put(Builder& b, const NodeStarted& e) {
    const auto node = put_text(b, e.node.v);
    const auto role = put_text(b, e.role);
    const auto roles = b.CreateVectorOfStrings(e.roles);
    const auto labels = b.CreateVectorOfStrings(e.labels);
    const auto version = put_text(b, e.version);
    return fbs::CreateNodeStarted(b, node, e.incarnation.v, role, roles, labels, e.slots, e.cpus,
                                  e.memory_mb, e.level, version, e.heartbeat_ms)
        .Union();
}
bool get(NodeStarted& e, const fbs::NodeStarted& t) {
    e = {NodeId(text(t.node())),
         Incarnation(t.incarnation()),
         text(t.role()),
         texts(t.roles()),
         texts(t.labels()),
         t.slots(),
         t.cpus(),
         t.memory_mb(),
         t.level(),
         text(t.version()),
         t.heartbeat_ms()};
    return true;
}

Made<void> put(Builder& b, const NodeStopped& e) {
    const auto node = put_text(b, e.node.v);
    return fbs::CreateNodeStopped(b, node, e.incarnation.v, put_text(b, e.reason)).Union();
}
bool get(NodeStopped& e, const fbs::NodeStopped& t) {
    e = {NodeId(text(t.node())), Incarnation(t.incarnation()), text(t.reason())};
    return true;
}

Made<void> put(Builder& b, const JobSubmitted& e) {
    const auto job = put_job(b, e.job);
    const auto document = put_text(b, e.document);
    const auto hash = put_bytes(b, e.spec_hash);
    const auto request = put_text(b, e.request_id);
    const auto origin = put_text(b, e.origin);
    const auto retry = put_text(b, e.retry_of);
    return fbs::CreateJobSubmitted(b, job, document, hash, e.uid, request,
                                   static_cast<std::uint8_t>(e.door), origin, retry)
        .Union();
}
bool get(JobSubmitted& e, const fbs::JobSubmitted& t) {
    e.document = text(t.document());
    e.uid = t.uid();
    e.request_id = text(t.request_id());
    e.door = static_cast<SubmitDoor>(t.door());
    e.origin = text(t.origin());
    e.retry_of = text(t.retry_of());
    return fixed(e.job.bytes, t.job()) && fixed(e.spec_hash, t.spec_hash());
}

Made<void> put(Builder& b, const JobRejected& e) {
    const auto origin = put_text(b, e.origin);
    const auto field = put_text(b, e.field);
    return fbs::CreateJobRejected(b, origin, field, put_text(b, e.reason), e.uid).Union();
}
bool get(JobRejected& e, const fbs::JobRejected& t) {
    e = {text(t.origin()), text(t.field()), text(t.reason()), t.uid()};
    return true;
}

Made<void> put(Builder& b, const JobOffered& e) {
    std::vector<Made<fbs::OfferScore>> scores;
    for (const auto& s : e.scores) {
        const auto node = put_text(b, s.node.v);
        const auto reason = put_text(b, s.reason);
        scores.push_back(fbs::CreateOfferScore(b, node, s.eligible, reason, s.role_ppm,
                                               s.success_ppm, s.speed_ppm, s.recency_ppm,
                                               s.expected_ms, s.cost_ms));
    }
    const auto job = put_job(b, e.attempt.job);
    return fbs::CreateJobOffered(b, job, e.attempt.attempt.v, b.CreateVector(scores)).Union();
}
bool get(JobOffered& e, const fbs::JobOffered& t) {
    e.scores.reserve(t.scores() == nullptr ? 0 : t.scores()->size());
    for (flatbuffers::uoffset_t i = 0; t.scores() != nullptr && i < t.scores()->size(); ++i) {
        const auto& s = *t.scores()->Get(i);
        e.scores.push_back({NodeId(text(s.node())), s.eligible(), text(s.reason()), s.role_ppm(),
                            s.success_ppm(), s.speed_ppm(), s.recency_ppm(), s.expected_ms(),
                            s.cost_ms()});
    }
    return attempt(e.attempt, t);
}

Made<void> put(Builder& b, const JobStarted& e) {
    const auto job = put_job(b, e.attempt.job);
    const auto node = put_text(b, e.node.v);
    const auto hash = put_bytes(b, e.spec_hash);
    return fbs::CreateJobStarted(b, job, e.attempt.attempt.v, node, e.incarnation.v, hash,
                                 e.claimed)
        .Union();
}
bool get(JobStarted& e, const fbs::JobStarted& t) {
    e.node = NodeId(text(t.node()));
    e.incarnation = Incarnation(t.incarnation());
    e.claimed = t.claimed();
    return attempt(e.attempt, t) && fixed(e.spec_hash, t.spec_hash());
}

Made<fbs::StreamRecord> put_stream(Builder& b, const StreamRecord& s) {
    const auto head = put_bytes(b, s.head);
    const auto digest = put_bytes(b, s.digest);
    return fbs::CreateStreamRecord(b, head, s.total_bytes, s.kept_bytes, digest, s.shipped);
}
bool get_stream(StreamRecord& s, const fbs::StreamRecord* t) {
    if (t == nullptr) {
        return false;
    }
    s.head = bytes(t->head());
    s.total_bytes = t->total_bytes();
    s.kept_bytes = t->kept_bytes();
    s.shipped = t->shipped();
    return fixed(s.digest, t->digest());
}

Made<void> put(Builder& b, const JobFinished& e) {
    const auto job = put_job(b, e.attempt.job);
    const auto node = put_text(b, e.node.v);
    const auto out = put_stream(b, e.out);
    const auto err = put_stream(b, e.err);
    const auto error = put_text(b, e.error);
    return fbs::CreateJobFinished(b, job, e.attempt.attempt.v, node,
                                  static_cast<std::uint8_t>(e.outcome), e.exit, e.signal, e.wall_ms,
                                  e.cpu_user_ms, e.cpu_system_ms, e.max_rss_kib, out, err, error,
                                  e.supervisor_number)
        .Union();
}
bool get(JobFinished& e, const fbs::JobFinished& t) {
    e.node = NodeId(text(t.node()));
    e.outcome = static_cast<Outcome>(t.outcome());
    e.exit = t.exit();
    e.signal = t.signal();
    e.wall_ms = t.wall_ms();
    e.cpu_user_ms = t.cpu_user_ms();
    e.cpu_system_ms = t.cpu_system_ms();
    e.max_rss_kib = t.max_rss_kib();
    e.error = text(t.error());
    e.supervisor_number = t.supervisor_number();
    return t.outcome() >= 1 && t.outcome() <= 4 && attempt(e.attempt, t) &&
           get_stream(e.out, t.out()) && get_stream(e.err, t.err());
}

Made<void> put(Builder& b, const JobReleased& e) {
    const auto job = put_job(b, e.attempt.job);
    const auto node = put_text(b, e.node.v);
    return fbs::CreateJobReleased(b, job, e.attempt.attempt.v, node, put_text(b, e.reason)).Union();
}
bool get(JobReleased& e, const fbs::JobReleased& t) {
    e.node = NodeId(text(t.node()));
    e.reason = text(t.reason());
    return attempt(e.attempt, t);
}

Made<void> put(Builder& b, const JobLost& e) {
    const auto job = put_job(b, e.attempt.job);
    const auto owner = put_text(b, e.owner.v);
    return fbs::CreateJobLost(b, job, e.attempt.attempt.v, owner, put_text(b, e.reason)).Union();
}
bool get(JobLost& e, const fbs::JobLost& t) {
    e.owner = WriterId(text(t.owner()));
    e.reason = text(t.reason());
    return attempt(e.attempt, t);
}

Made<void> put(Builder& b, const AttemptOpened& e) {
    const auto job = put_job(b, e.attempt.job);
    return fbs::CreateAttemptOpened(b, job, e.attempt.attempt.v, e.not_before_ms,
                                    put_text(b, e.reason))
        .Union();
}
bool get(AttemptOpened& e, const fbs::AttemptOpened& t) {
    e.not_before_ms = t.not_before_ms();
    e.reason = text(t.reason());
    return attempt(e.attempt, t);
}

Made<void> put(Builder& b, const JobEnded& e) {
    const auto job = put_job(b, e.attempt.job);
    const auto reason = put_text(b, e.reason);
    return fbs::CreateJobEnded(b, job, e.attempt.attempt.v, static_cast<std::uint8_t>(e.ending),
                               reason)
        .Union();
}
bool get(JobEnded& e, const fbs::JobEnded& t) {
    e.ending = static_cast<Ending>(t.ending());
    e.reason = text(t.reason());
    return t.ending() >= 1 && t.ending() <= 2 && attempt(e.attempt, t);
}

Made<void> put(Builder& b, const JobCancelRequested& e) {
    const auto job = put_job(b, e.job);
    return fbs::CreateJobCancelRequested(b, job, e.uid, put_text(b, e.request_id), e.give_up_lost)
        .Union();
}
bool get(JobCancelRequested& e, const fbs::JobCancelRequested& t) {
    e.uid = t.uid();
    e.request_id = text(t.request_id());
    e.give_up_lost = t.give_up_lost();
    return fixed(e.job.bytes, t.job());
}

Made<void> put(Builder& b, const SwitchSet& e) {
    const auto name = put_text(b, e.name);
    const auto value = put_text(b, e.value);
    return fbs::CreateSwitchSet(b, name, value, e.version, e.uid, put_text(b, e.reason)).Union();
}
bool get(SwitchSet& e, const fbs::SwitchSet& t) {
    e = {text(t.name()), text(t.value()), t.version(), t.uid(), text(t.reason())};
    return true;
}

Made<void> put(Builder& b, const NodeHealth& e) {
    const auto node = put_text(b, e.node.v);
    const auto state = put_text(b, e.state);
    return fbs::CreateNodeHealth(b, node, state, e.running, e.load_milli, e.memory_free_mb,
                                 e.disk_free_mb)
        .Union();
}
bool get(NodeHealth& e, const fbs::NodeHealth& t) {
    e = {NodeId(text(t.node())), text(t.state()),    t.running(),
         t.load_milli(),         t.memory_free_mb(), t.disk_free_mb()};
    return true;
}

Made<void> put(Builder& b, const Observation& e) {
    const auto kind = put_text(b, e.kind);
    const auto subject = put_text(b, e.subject);
    return fbs::CreateObservation(b, kind, subject, put_text(b, e.detail)).Union();
}
bool get(Observation& e, const fbs::Observation& t) {
    e = {text(t.kind()), text(t.subject()), text(t.detail())};
    return true;
}

Made<void> put(Builder& b, const DigestTaken& e) {
    const auto cut = put_text(b, e.cut);
    return fbs::CreateDigestTaken(b, cut, put_text(b, e.digest)).Union();
}
bool get(DigestTaken& e, const fbs::DigestTaken& t) {
    e = {text(t.cut()), text(t.digest())};
    return true;
}

Made<void> put(Builder& b, const WriterRetired& e) {
    const auto writer = put_text(b, e.writer.v);
    const auto hash = put_bytes(b, e.hash);
    const auto reason = put_text(b, e.reason);
    const auto key = put_bytes(b, e.operator_key);
    const auto signature = put_bytes(b, e.signature);
    const auto cluster = put_bytes(b, e.cluster);
    return fbs::CreateWriterRetired(b, writer, e.serial, e.incarnation, e.segment, e.end, e.seq,
                                    hash, reason, key, signature, cluster)
        .Union();
}
bool get(WriterRetired& e, const fbs::WriterRetired& t) {
    e.writer = WriterId(text(t.writer()));
    e.serial = t.serial();
    e.incarnation = t.incarnation();
    e.segment = t.segment();
    e.end = t.end();
    e.seq = t.seq();
    e.reason = text(t.reason());
    return valid_writer_name(e.writer.v) && fixed(e.hash, t.hash()) &&
           fixed(e.operator_key, t.operator_key()) && fixed(e.signature, t.signature()) &&
           fixed(e.cluster, t.cluster());
}

Made<void> put(Builder& b, const PolicyLoaded& e) {
    std::vector<Made<fbs::PolicyFile>> files;
    for (const auto& file : e.files) {
        const auto name = put_text(b, file.name);
        files.push_back(fbs::CreatePolicyFile(b, name, put_text(b, file.text)));
    }
    const auto list = b.CreateVector(files);
    const auto key = put_bytes(b, e.operator_key);
    const auto signature = put_bytes(b, e.signature);
    return fbs::CreatePolicyLoaded(b, e.version, list, key, signature, put_bytes(b, e.cluster))
        .Union();
}
bool get(PolicyLoaded& e, const fbs::PolicyLoaded& t) {
    e.version = t.version();
    for (flatbuffers::uoffset_t i = 0; t.files() != nullptr && i < t.files()->size(); ++i) {
        e.files.push_back({text(t.files()->Get(i)->name()), text(t.files()->Get(i)->text())});
    }
    return fixed(e.operator_key, t.operator_key()) && fixed(e.signature, t.signature()) &&
           fixed(e.cluster, t.cluster());
}

Made<void> put(Builder& b, const LevelRaised& e) {
    return fbs::CreateLevelRaised(b, e.level).Union();
}
bool get(LevelRaised& e, const fbs::LevelRaised& t) {
    e.level = t.level();
    return e.level >= first_level;
}

Made<void> put(Builder& b, const ForkSeen& e) {
    const auto writer = put_text(b, e.writer.v);
    const auto first = put_bytes(b, e.first);
    return fbs::CreateForkSeen(b, writer, e.incarnation, e.seq, first, put_bytes(b, e.second))
        .Union();
}
bool get(ForkSeen& e, const fbs::ForkSeen& t) {
    e.writer = WriterId(text(t.writer()));
    e.incarnation = t.incarnation();
    e.seq = t.seq();
    return valid_writer_name(e.writer.v) && e.incarnation > 0 && e.seq > 0 &&
           fixed(e.first, t.first()) && fixed(e.second, t.second()) && e.first < e.second;
}

Made<void> put(Builder& b, const ForkResolved& e) {
    const auto writer = put_text(b, e.writer.v);
    const auto hash = put_bytes(b, e.hash);
    const auto reason = put_text(b, e.reason);
    const auto key = put_bytes(b, e.operator_key);
    const auto signature = put_bytes(b, e.signature);
    const auto cluster = put_bytes(b, e.cluster);
    return fbs::CreateForkResolved(b, writer, e.continues, e.incarnation, e.segment, e.end, e.seq,
                                   hash, reason, key, signature, cluster)
        .Union();
}
bool get(ForkResolved& e, const fbs::ForkResolved& t) {
    e.writer = WriterId(text(t.writer()));
    e.continues = t.continues();
    e.incarnation = t.incarnation();
    e.segment = t.segment();
    e.end = t.end();
    e.seq = t.seq();
    e.reason = text(t.reason());
    return valid_writer_name(e.writer.v) && e.continues > e.incarnation &&
           fixed(e.hash, t.hash()) && fixed(e.operator_key, t.operator_key()) &&
           fixed(e.signature, t.signature()) && fixed(e.cluster, t.cluster());
}

Made<void> put(Builder&, const Unknown&) { return {}; }

/// False: a field has an impossible value.
template <typename Value, typename Table>
bool read_payload(Payload& to, const fbs::Event& event) {
    const auto* table = static_cast<const Table*>(event.payload());
    return table != nullptr && get(to.emplace<Value>(), *table);
}

using ReadPayload = bool (*)(Payload&, const fbs::Event&);

struct TypeEntry {
    const char* name;
    ReadPayload read;
    std::uint32_t level = first_level;
};

// Indexed by type id - 1, in the order of the union and of the Payload variant.
constexpr TypeEntry types[] = {
    {"NodeStarted", &read_payload<NodeStarted, fbs::NodeStarted>},
    {"NodeStopped", &read_payload<NodeStopped, fbs::NodeStopped>},
    {"JobSubmitted", &read_payload<JobSubmitted, fbs::JobSubmitted>},
    {"JobRejected", &read_payload<JobRejected, fbs::JobRejected>},
    {"JobOffered", &read_payload<JobOffered, fbs::JobOffered>},
    {"JobStarted", &read_payload<JobStarted, fbs::JobStarted>},
    {"JobFinished", &read_payload<JobFinished, fbs::JobFinished>},
    {"JobReleased", &read_payload<JobReleased, fbs::JobReleased>},
    {"JobLost", &read_payload<JobLost, fbs::JobLost>},
    {"AttemptOpened", &read_payload<AttemptOpened, fbs::AttemptOpened>},
    {"JobEnded", &read_payload<JobEnded, fbs::JobEnded>},
    {"JobCancelRequested", &read_payload<JobCancelRequested, fbs::JobCancelRequested>},
    {"SwitchSet", &read_payload<SwitchSet, fbs::SwitchSet>},
    {"NodeHealth", &read_payload<NodeHealth, fbs::NodeHealth>},
    {"Observation", &read_payload<Observation, fbs::Observation>},
    {"DigestTaken", &read_payload<DigestTaken, fbs::DigestTaken>},
    {"WriterRetired", &read_payload<WriterRetired, fbs::WriterRetired>},
    {"PolicyLoaded", &read_payload<PolicyLoaded, fbs::PolicyLoaded>},
    {"LevelRaised", &read_payload<LevelRaised, fbs::LevelRaised>, 2},
    {"ForkSeen", &read_payload<ForkSeen, fbs::ForkSeen>, 2},
    {"ForkResolved", &read_payload<ForkResolved, fbs::ForkResolved>, 2},
};
static_assert(std::size(types) + 1 == std::variant_size_v<Payload>,
              "one entry a type, Unknown has none");
static_assert(std::all_of(std::begin(types), std::end(types),
                          [](const TypeEntry& one) { return one.level <= current_level; }),
              "a type of a level that this build does not know");

}  // namespace

std::uint16_t type_id(const Payload& payload) {
    if (const auto* unknown = std::get_if<Unknown>(&payload)) {
        return unknown->type;
    }
    return static_cast<std::uint16_t>(payload.index() + 1);
}

std::uint32_t level_of(std::uint16_t type) {
    const bool known = type >= 1 && type <= std::size(types);
    return known ? types[type - 1].level : UINT32_MAX;
}

std::string type_name(std::uint16_t type) {
    if (type >= 1 && type <= std::size(types)) {
        return types[type - 1].name;
    }
    return "Unknown(" + std::to_string(type) + ")";
}

Result<Bytes> encode(Hlc hlc, const Payload& payload) {
    CHECK(!std::holds_alternative<Unknown>(payload));
    const bool nameable = std::visit(
        []<typename T>(const T& e) {
            if constexpr (OfAttempt<T>) {
                return valid(e.attempt.attempt);
            } else {
                return true;
            }
        },
        payload);
    if (!nameable) {
        return Error{Code::invalid, "an attempt of " + type_name(type_id(payload)) +
                                        " that has no name: 1 to " +
                                        std::to_string(greatest_attempt.v)};
    }
    Builder builder(1024);
    const auto body = std::visit([&](const auto& value) { return put(builder, value); }, payload);
    const auto type = static_cast<fbs::Payload>(type_id(payload));
    builder.Finish(fbs::CreateEvent(builder, hlc.v, type, body), fbs::EventIdentifier());
    if (builder.GetSize() > max_event_bytes) {
        return Error{Code::invalid,
                     type_name(type_id(payload)) + " of " + std::to_string(builder.GetSize()) +
                         " bytes; an event holds at most " + std::to_string(max_event_bytes)};
    }
    const auto* at = builder.GetBufferPointer();
    return Bytes(at, at + builder.GetSize());
}

Result<Event> decode(std::uint16_t type, ByteView flatbuffer, const WriterId& writer, Seq seq) {
    Event out;
    TRY(decode_into(out, type, flatbuffer, writer, seq));
    return out;
}

Status decode_into(Event& out, std::uint16_t type, ByteView flatbuffer, const WriterId& writer,
                   Seq seq) {
    flatbuffers::Verifier verifier(flatbuffer.data(), flatbuffer.size(), max_depth, max_tables);
    if (flatbuffer.size() > max_event_bytes || !fbs::VerifyEventBuffer(verifier)) {
        return Error{Code::corrupt,
                     "event " + std::to_string(seq.v) + ": its FlatBuffer does not verify"};
    }
    const auto& event = *fbs::GetEvent(flatbuffer.data());
    const bool known = type >= 1 && type <= std::size(types);
    out.hlc = Hlc(event.hlc());
    out.writer = writer;
    out.seq = seq;
    if (!known) {
        out.payload = Unknown{type, Bytes(flatbuffer.begin(), flatbuffer.end())};
        return ok();
    }
    if (static_cast<std::uint16_t>(event.payload_type()) != type) {
        return Error{Code::corrupt,
                     "event " + std::to_string(seq.v) + ": its frame names another type"};
    }
    if (!types[type - 1].read(out.payload, event)) {
        return Error{Code::corrupt, "event " + std::to_string(seq.v) + " " + type_name(type) +
                                        ": a field of the event has an impossible value"};
    }
    return ok();
}

}  // namespace reeve::events
