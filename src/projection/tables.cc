#include "projection/tables.h"

#include <bit>

namespace reeve::projection {
namespace {

constexpr std::string_view cursor_prefix = "c/";
constexpr std::string_view digest_prefix = "d/";

Bytes text_key(std::string_view prefix, std::string_view text) {
    Bytes out(prefix.begin(), prefix.end());
    out.insert(out.end(), text.begin(), text.end());
    return out;
}
void append_to(Bytes& out, ByteView more) { out.insert(out.end(), more.begin(), more.end()); }

void put_texts(ByteWriter& w, const std::vector<std::string>& texts) {
    w.u32(static_cast<std::uint32_t>(texts.size()));
    for (const auto& text : texts) {
        w.text(text);
    }
}
std::vector<std::string> get_texts(ByteReader& r) {
    std::vector<std::string> out;
    const auto n = r.u32();
    for (std::uint32_t i = 0; i < n && r.ok(); ++i) {
        out.push_back(r.text());
    }
    return out;
}
void put_stream(ByteWriter& w, const events::StreamRecord& s) {
    w.bytes(s.head);
    w.u64(s.total_bytes);
    w.u64(s.kept_bytes);
    w.raw(s.digest);
    w.boolean(s.shipped);
}
events::StreamRecord get_stream(ByteReader& r) {
    events::StreamRecord s;
    s.head = r.bytes();
    s.total_bytes = r.u64();
    s.kept_bytes = r.u64();
    get_array(r, s.digest);
    s.shipped = r.boolean();
    return s;
}

}  // namespace

Bytes be64(std::uint64_t v) {
    Bytes out(8);
    for (std::size_t i = 0; i < 8; ++i) {
        out[i] = static_cast<std::uint8_t>(v >> (8 * (7 - i)));
    }
    return out;
}
Bytes ordered(std::int64_t v) { return be64(static_cast<std::uint64_t>(v) ^ (1ULL << 63)); }
std::uint64_t from_be64(ByteView bytes) {
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < 8 && i < bytes.size(); ++i) {
        v = v << 8 | bytes[i];
    }
    return v;
}
std::int64_t from_ordered(ByteView bytes) {
    return static_cast<std::int64_t>(from_be64(bytes) ^ (1ULL << 63));
}

Bytes job_key(const JobId& job) { return Bytes(job.bytes.begin(), job.bytes.end()); }
Bytes attempt_key(const AttemptId& attempt) {
    Bytes out = job_key(attempt.job);
    append_to(out, be64(attempt.attempt.v));
    return out;
}
Bytes index_key(const IndexEntry& entry) {
    Bytes out{static_cast<std::uint8_t>(entry.index)};
    append_to(out, ordered(entry.order_ms));
    append_to(out, entry.job.bytes);
    return out;
}
std::optional<IndexEntry> parse_index_key(ByteView key) {
    if (key.size() != 25) {
        return std::nullopt;
    }
    IndexEntry out{static_cast<IndexClass>(key[0]), from_ordered(key.subspan(1, 8)), {}};
    std::copy(key.begin() + 9, key.end(), out.job.bytes.begin());
    return out;
}
Bytes dependent_key(const JobId& other, const JobId& job) {
    Bytes out = job_key(other);
    append_to(out, job.bytes);
    return out;
}
Bytes routing_key(const RoutingKey& key) {
    ByteWriter w;
    w.text(key.node.v);
    w.text(key.task_type.substr(0, 256));
    w.raw(ordered(key.day));
    return std::move(w).take();
}
RoutingKey parse_routing_key(ByteView key) {
    ByteReader r(key);
    RoutingKey out{NodeId(r.text()), r.text(), 0};
    out.day = from_ordered(r.raw(8));
    return out;
}
Bytes cursor_key(const WriterId& writer) { return text_key(cursor_prefix, writer.v); }
Bytes digest_key(kv::Table view) { return text_key(digest_prefix, table_name(view)); }

Bytes encode(const NodeRow& n) {
    ByteWriter w;
    put_stamp(w, n.stamp);
    w.text(n.node.v);
    w.u64(n.incarnation.v);
    w.text(n.role);
    put_texts(w, n.roles);
    put_texts(w, n.labels);
    w.u32(n.slots);
    w.u32(n.cpus);
    w.u64(n.memory_mb);
    w.u32(n.level);
    w.text(n.version);
    w.i64(n.heartbeat_ms);
    w.boolean(n.stopped);
    return std::move(w).take();
}
NodeRow decode_node(ByteView bytes) {
    ByteReader r(bytes);
    NodeRow n;
    n.stamp = get_stamp(r);
    n.node = NodeId(r.text());
    n.incarnation = Incarnation(r.u64());
    n.role = r.text();
    n.roles = get_texts(r);
    n.labels = get_texts(r);
    n.slots = r.u32();
    n.cpus = r.u32();
    n.memory_mb = r.u64();
    n.level = r.u32();
    n.version = r.text();
    n.heartbeat_ms = r.i64();
    n.stopped = r.boolean();
    return n;
}

Bytes encode(const SwitchRow& s) {
    ByteWriter w;
    put_stamp(w, s.stamp);
    w.text(s.value);
    w.u64(s.version);
    w.u32(s.uid);
    w.text(s.reason);
    return std::move(w).take();
}
SwitchRow decode_switch(ByteView bytes) {
    ByteReader r(bytes);
    return {get_stamp(r), r.text(), r.u64(), r.u32(), r.text()};
}

Bytes fold_version_row() {
    auto row = be64(fold_version);
    const auto types = be64(std::variant_size_v<events::Payload> - 1);
    row.insert(row.end(), types.begin(), types.end());
    return row;
}

Bytes retired_key(const events::WriterRetired& e) {
    ByteWriter key;
    key.raw(e.operator_key);
    key.raw(e.cluster);
    key.raw(as_bytes(e.writer.v));
    return std::move(key).take();
}
Bytes policy_key(const events::PolicyLoaded& e) {
    ByteWriter key;
    key.raw(e.operator_key);
    key.raw(e.cluster);
    return std::move(key).take();
}

namespace {

template <std::size_t N>
void take(ByteReader& r, std::array<std::uint8_t, N>& out) {
    const auto bytes = r.raw(N);
    std::copy(bytes.begin(), bytes.end(), out.begin());
}

}  // namespace

Bytes encode(const events::WriterRetired& e) {
    ByteWriter w;
    w.text(e.writer.v);
    for (const auto number : {e.serial, e.incarnation, e.segment, e.end, e.seq}) {
        w.u64(number);
    }
    w.raw(e.hash);
    w.text(e.reason);
    w.raw(e.operator_key);
    w.raw(e.signature);
    w.raw(e.cluster);
    return std::move(w).take();
}
events::WriterRetired decode_retired(ByteView bytes) {
    ByteReader r(bytes);
    events::WriterRetired e;
    e.writer = WriterId(r.text());
    for (auto* number : {&e.serial, &e.incarnation, &e.segment, &e.end, &e.seq}) {
        *number = r.u64();
    }
    take(r, e.hash);
    e.reason = r.text();
    take(r, e.operator_key);
    take(r, e.signature);
    take(r, e.cluster);
    return e;
}

Bytes fork_key(const events::ForkSeen& e) {
    ByteWriter key;
    key.text(e.writer.v);
    key.raw(be64(e.incarnation));
    key.raw(be64(e.seq));
    key.raw(e.first);
    key.raw(e.second);
    return std::move(key).take();
}
events::ForkSeen parse_fork_key(ByteView key) {
    ByteReader r(key);
    events::ForkSeen e;
    e.writer = WriterId(r.text());
    e.incarnation = from_be64(r.raw(8));
    e.seq = from_be64(r.raw(8));
    take(r, e.first);
    take(r, e.second);
    return e;
}
Bytes encode(const EventStamp& stamp) {
    ByteWriter w;
    put_stamp(w, stamp);
    return std::move(w).take();
}
EventStamp decode_stamp(ByteView bytes) {
    ByteReader r(bytes);
    return get_stamp(r);
}

Bytes resolved_key(const events::ForkResolved& e) {
    ByteWriter key;
    key.raw(e.operator_key);
    key.raw(e.cluster);
    key.text(e.writer.v);
    key.raw(be64(e.seq));
    return std::move(key).take();
}
Bytes encode(const events::ForkResolved& e) {
    ByteWriter w;
    w.text(e.writer.v);
    for (const auto number : {e.continues, e.incarnation, e.segment, e.end, e.seq}) {
        w.u64(number);
    }
    w.raw(e.hash);
    w.text(e.reason);
    w.raw(e.operator_key);
    w.raw(e.signature);
    w.raw(e.cluster);
    return std::move(w).take();
}
events::ForkResolved decode_resolved(ByteView bytes) {
    ByteReader r(bytes);
    events::ForkResolved e;
    e.writer = WriterId(r.text());
    for (auto* number : {&e.continues, &e.incarnation, &e.segment, &e.end, &e.seq}) {
        *number = r.u64();
    }
    take(r, e.hash);
    e.reason = r.text();
    take(r, e.operator_key);
    take(r, e.signature);
    take(r, e.cluster);
    return e;
}

Bytes encode(const events::PolicyLoaded& e) {
    ByteWriter w;
    w.u64(e.version);
    w.u32(static_cast<std::uint32_t>(e.files.size()));
    for (const auto& file : e.files) {
        w.text(file.name);
        w.text(file.text);
    }
    w.raw(e.operator_key);
    w.raw(e.signature);
    w.raw(e.cluster);
    return std::move(w).take();
}
events::PolicyLoaded decode_policy(ByteView bytes) {
    ByteReader r(bytes);
    events::PolicyLoaded e;
    e.version = r.u64();
    const auto count = r.u32();
    for (std::uint32_t i = 0; i < count && r.ok(); ++i) {
        auto name = r.text();
        e.files.push_back({std::move(name), r.text()});
    }
    take(r, e.operator_key);
    take(r, e.signature);
    take(r, e.cluster);
    return e;
}

Bytes encode(const HealthRow& h) {
    ByteWriter w;
    put_stamp(w, h.stamp);
    w.text(h.health.node.v);
    w.text(h.health.state);
    w.u32(h.health.running);
    w.u32(h.health.load_milli);
    w.u64(h.health.memory_free_mb);
    w.u64(h.health.disk_free_mb);
    return std::move(w).take();
}
HealthRow decode_health(ByteView bytes) {
    ByteReader r(bytes);
    return {get_stamp(r), {NodeId(r.text()), r.text(), r.u32(), r.u32(), r.u64(), r.u64()}};
}

Bytes encode(const RoutingRow& row) {
    ByteWriter w;
    for (const auto v : {row.runs, row.succeeded, row.failed, row.timeout, row.lost}) {
        w.u64(v);
    }
    for (const auto v : row.durations) {
        w.u32(v);
    }
    return std::move(w).take();
}
RoutingRow decode_routing(ByteView bytes) {
    ByteReader r(bytes);
    RoutingRow row;
    for (auto* v : {&row.runs, &row.succeeded, &row.failed, &row.timeout, &row.lost}) {
        *v = r.u64();
    }
    for (auto& v : row.durations) {
        v = r.u32();
    }
    return row;
}

Bytes encode(const OutputRow& row) {
    ByteWriter w;
    put_stamp(w, row.stamp);
    put_stream(w, row.out);
    put_stream(w, row.err);
    return std::move(w).take();
}
OutputRow decode_output(ByteView bytes) {
    ByteReader r(bytes);
    OutputRow row;
    row.stamp = get_stamp(r);
    row.out = get_stream(r);
    row.err = get_stream(r);
    return row;
}

Bytes encode(const CursorRow& row) {
    ByteWriter w;
    w.u64(row.position.incarnation.v);
    w.u64(row.position.segment.v);
    w.u64(row.position.end.v);
    w.u64(row.position.seq.v);
    w.raw(row.position.hash);
    w.u64(row.hlc.v);
    return std::move(w).take();
}
CursorRow decode_cursor(ByteView bytes) {
    ByteReader r(bytes);
    CursorRow row;
    row.position = {Incarnation(r.u64()), SegmentNo(r.u64()), Offset(r.u64()), Seq(r.u64()), {}};
    get_array(r, row.position.hash);
    row.hlc = Hlc(r.u64());
    return row;
}

Bytes encode(const RequestRow& row) {
    ByteWriter w;
    put_stamp(w, row.stamp);
    w.raw(row.job.bytes);
    return std::move(w).take();
}
RequestRow decode_request(ByteView bytes) {
    ByteReader r(bytes);
    RequestRow row;
    row.stamp = get_stamp(r);
    get_array(r, row.job.bytes);
    return row;
}

Bytes encode(const LevelRow& row) {
    ByteWriter w;
    put_stamp(w, row.stamp);
    w.u32(row.level);
    return std::move(w).take();
}
LevelRow decode_level(ByteView bytes) {
    ByteReader r(bytes);
    LevelRow row;
    row.stamp = get_stamp(r);
    row.level = r.u32();
    return row;
}

Cut read_cut(kv::ReadTransaction& transaction) {
    Cut out;
    transaction.scan(table::meta, as_bytes(cursor_prefix), [&](ByteView key, ByteView value) {
        const auto name = as_text(key);
        if (!name.starts_with(cursor_prefix)) {
            return false;
        }
        out[WriterId(std::string(name.substr(cursor_prefix.size())))] = decode_cursor(value);
        return true;
    });
    return out;
}

std::size_t duration_bucket(std::int64_t wall_ms) {
    const auto v = static_cast<std::uint64_t>(std::max<std::int64_t>(wall_ms, 1));
    const auto octave = static_cast<std::size_t>(std::bit_width(v)) - 1;
    // Half an octave up from 2^(octave + 1/2), in integers: v^2 >= 2^(2*octave + 1).
    const bool upper = octave < 31 ? v * v >= (2ULL << (2 * octave)) : true;
    return std::min<std::size_t>(2 * octave + (upper ? 1 : 0), RoutingRow{}.durations.size() - 1);
}

std::int64_t bucket_ms(std::size_t bucket) {
    const std::int64_t base = std::int64_t{1} << (bucket / 2);
    return bucket % 2 == 0 ? base + base / 5 : base + base * 7 / 10;
}

std::string cut_name(const Cut& cut) {
    ByteWriter w;
    for (const auto& [writer, row] : cut) {
        w.text(writer.v);
        w.raw(encode(CursorRow{row.position, Hlc(0)}));
    }
    return to_hex(sha256(w.view())).substr(0, 16);
}

}  // namespace reeve::projection
