#include "projection/tables.h"

namespace reeve::projection {
namespace {

/// Every row of a table, by its key as text.
template <typename Row, typename Scan>
std::vector<std::pair<std::string, Row>> rows_of(const Scan& scan, Row (*decode)(ByteView)) {
    std::vector<std::pair<std::string, Row>> out;
    scan([&](ByteView key, ByteView value) {
        out.emplace_back(std::string(as_text(key)), decode(value));
        return true;
    });
    return out;
}

JobRow expect_job(ByteView key, ByteView bytes) {
    auto row = decode_job_row(bytes);
    if (!row) {
        throw ViewFailed(row.error().with("table jobs, key " + to_hex(key)));
    }
    return std::move(*row);
}

}  // namespace

Snapshot::Snapshot(std::unique_ptr<kv::ReadTransaction> transaction)
    : transaction_(std::move(transaction)) {}

void Snapshot::expect_read() const {
    if (auto status = transaction_->status(); !status) {
        throw ViewFailed(status.error());
    }
}

std::optional<Bytes> Snapshot::get(kv::Table table, ByteView key) const {
    auto out = transaction_->get(table, key);
    expect_read();
    return out;
}

void Snapshot::scan(kv::Table table, ByteView from, const kv::Visit& visit) const {
    transaction_->scan(table, from, visit);
    expect_read();
}

void Snapshot::scan_back(kv::Table table, const kv::Visit& visit) const {
    transaction_->scan_back(table, visit);
    expect_read();
}

std::optional<JobRow> Snapshot::job(const JobId& id) const {
    const auto key = job_key(id);
    const auto bytes = get(table::jobs, key);
    return bytes ? std::optional(expect_job(key, *bytes)) : std::nullopt;
}

void Snapshot::index(IndexClass index, const std::function<bool(const IndexEntry&)>& fn) const {
    const Bytes from{static_cast<std::uint8_t>(index)};
    scan(table::index, from, [&](ByteView key, ByteView) {
        const auto entry = parse_index_key(key);
        return entry && entry->index == index && fn(*entry);
    });
}

void Snapshot::jobs(bool newest_first,
                    const std::function<bool(const JobId&, const JobRow&)>& fn) const {
    const kv::Visit visit = [&](ByteView key, ByteView value) {
        JobId id;
        std::copy_n(key.begin(), std::min(key.size(), id.bytes.size()), id.bytes.begin());
        return fn(id, expect_job(key, value));
    };
    if (newest_first) {
        scan_back(table::jobs, visit);
    } else {
        scan(table::jobs, {}, visit);
    }
}

std::vector<JobId> Snapshot::dependents(const JobId& id) const {
    std::vector<JobId> out;
    const auto from = job_key(id);
    scan(table::dependents, from, [&](ByteView key, ByteView) {
        if (key.size() != 32 || !std::equal(from.begin(), from.end(), key.begin())) {
            return false;
        }
        JobId one;
        std::copy(key.begin() + 16, key.end(), one.bytes.begin());
        out.push_back(one);
        return true;
    });
    return out;
}

std::optional<JobId> Snapshot::request(const std::string& request_id) const {
    const auto bytes = get(table::requests, as_bytes(request_id));
    return bytes ? std::optional(decode_request(*bytes).job) : std::nullopt;
}

std::optional<OutputRow> Snapshot::output(const AttemptId& attempt) const {
    const auto bytes = get(table::outputs, attempt_key(attempt));
    return bytes ? std::optional(decode_output(*bytes)) : std::nullopt;
}

std::map<WriterId, NodeRow> Snapshot::nodes() const {
    std::map<WriterId, NodeRow> out;
    for (auto& [key, row] :
         rows_of([this](const kv::Visit& visit) { scan(table::nodes, {}, visit); }, &decode_node)) {
        out.emplace(WriterId(key), std::move(row));
    }
    return out;
}

std::map<std::string, SwitchRow> Snapshot::switches() const {
    std::map<std::string, SwitchRow> out;
    for (auto& [key, row] :
         rows_of([this](const kv::Visit& visit) { scan(table::switches, {}, visit); },
                 &decode_switch)) {
        out.emplace(key, std::move(row));
    }
    return out;
}

std::vector<events::WriterRetired> Snapshot::retired() const {
    std::vector<events::WriterRetired> out;
    scan(table::retired, {}, [&](ByteView, ByteView row) {
        out.push_back(decode_retired(row));
        return true;
    });
    return out;
}

std::vector<events::PolicyLoaded> Snapshot::policies() const {
    std::vector<events::PolicyLoaded> out;
    scan(table::policy, {}, [&](ByteView, ByteView row) {
        out.push_back(decode_policy(row));
        return true;
    });
    return out;
}

std::vector<events::ForkSeen> Snapshot::forks() const {
    std::vector<events::ForkSeen> out;
    scan(table::forks, {}, [&](ByteView key, ByteView) {
        out.push_back(parse_fork_key(key));
        return true;
    });
    return out;
}

std::vector<events::ForkResolved> Snapshot::resolved() const {
    std::vector<events::ForkResolved> out;
    scan(table::resolved, {}, [&](ByteView, ByteView row) {
        out.push_back(decode_resolved(row));
        return true;
    });
    return out;
}

std::map<NodeId, HealthRow> Snapshot::health() const {
    std::map<NodeId, HealthRow> out;
    for (auto& [key, row] : rows_of(
             [this](const kv::Visit& visit) { scan(table::health, {}, visit); }, &decode_health)) {
        out.emplace(NodeId(key), std::move(row));
    }
    return out;
}

std::map<RoutingKey, RoutingRow> Snapshot::routing() const {
    std::map<RoutingKey, RoutingRow> out;
    for (auto& [key, row] :
         rows_of([this](const kv::Visit& visit) { scan(table::routing, {}, visit); },
                 &decode_routing)) {
        out.emplace(parse_routing_key(as_bytes(key)), row);
    }
    return out;
}

std::map<std::string, std::uint64_t> Snapshot::totals() const {
    std::map<std::string, std::uint64_t> out;
    for (const auto& [key, count] :
         rows_of([this](const kv::Visit& visit) { scan(table::totals, {}, visit); }, &from_be64)) {
        out.emplace(key, count);
    }
    return out;
}

std::uint32_t Snapshot::level() const {
    const auto bytes = transaction_->get(table::cluster, as_bytes(level_key));
    return bytes ? decode_level(*bytes).level : events::first_level;
}

std::vector<events::Event> Snapshot::observations(std::size_t newest) const {
    std::vector<events::Event> out;
    scan_back(table::observations, [&](ByteView, ByteView value) {
        ByteReader r(value);
        const auto stamp = get_stamp(r);
        const bool rejected = r.boolean();
        events::Payload payload =
            rejected ? events::Payload(events::JobRejected{r.text(), r.text(), r.text(), 0})
                     : events::Payload(events::Observation{r.text(), r.text(), r.text()});
        out.push_back({stamp.hlc, stamp.writer, stamp.seq, std::move(payload)});
        return out.size() < newest;
    });
    return out;
}

Status Snapshot::expect_built() const {
    const auto found = get(table::meta, as_bytes("fold_version"));
    return found == fold_version_row()
               ? ok()
               : Status(Error{Code::unavailable,
                              "the view is being built from the logs, or another build made it; "
                              "try again when the daemon answers"});
}

Cut Snapshot::cut() const {
    auto out = read_cut(*transaction_);
    expect_read();
    return out;
}

std::map<std::string, Digest> Snapshot::digests() const {
    std::map<std::string, Digest> out;
    for (const auto view : table::digested) {
        Digest digest{};
        if (const auto bytes = get(table::meta, digest_key(view));
            bytes && bytes->size() == digest.size()) {
            std::copy(bytes->begin(), bytes->end(), digest.begin());
        }
        out.emplace(std::string(table_name(view)), digest);
    }
    return out;
}

Digest Snapshot::digest() const {
    ByteWriter w;
    w.u32(fold_version);
    for (const auto& [view, digest] : digests()) {
        w.text(view);
        w.raw(digest);
    }
    const auto hash = sha256(w.view());
    Digest out{};
    std::copy_n(hash.begin(), out.size(), out.begin());
    return out;
}

}  // namespace reeve::projection
