// The fold of a transaction: every touched row is read once, folded in memory, and written once,
// with index, contributions and digest derived from the difference of its old and its new value.

#include "projection/projection.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "projection/spec_rules.h"
#include "projection/tables.h"

namespace reeve::projection {
namespace {

constexpr std::int64_t class_bonus_ms = 600'000;  // aging: a class is worth ten minutes of waiting
constexpr std::int64_t day_ms = 86'400'000;
constexpr std::size_t kept_observations = 1000;
__extension__ using Sum = unsigned __int128;

Sum row_hash(kv::Table view, ByteView key, ByteView value) {
    ByteWriter w;
    w.bytes(key);
    w.bytes(value);
    const auto seed = static_cast<std::uint64_t>(view) << 32 | fold_version;
    const auto hash = XXH3_128bits_withSeed(w.view().data(), w.view().size(), seed);
    return static_cast<Sum>(hash.high64) << 64 | hash.low64;
}

/// What one job row adds to the sums of other views.
struct Contribution {
    std::optional<IndexEntry> index;
    std::string state;
    std::map<RoutingKey, RoutingRow> routing;
    std::vector<JobId> after;
};

IndexEntry place(const JobId& job, const Submission& submission, const queue::JobSpec& spec,
                 const Situation& now) {
    const auto submitted = hlc_ms(submission.stamp.hlc);
    switch (now.next) {
        case Next::claim:
            return now.not_before_ms > 0
                       ? IndexEntry{IndexClass::timed, now.not_before_ms, job}
                       : IndexEntry{IndexClass::pending, virtual_ms(submission, spec), job};
        case Next::resolve_after: return {IndexClass::after, submitted, job};
        case Next::wait_for_end:
        case Next::stop: return {IndexClass::running, submitted, job};
        case Next::ask_person: return {IndexClass::lost, submitted, job};
        case Next::open_next:
        case Next::end_failed:
        case Next::end_cancelled:
        case Next::nothing: break;
    }
    return {IndexClass::decide, now.not_before_ms, job};
}

void add_attempt(Contribution& out, const std::string& type, const AttemptRow& attempt) {
    const auto phase = attempt.phase();
    const auto* loss = attempt.loss();
    if (!attempt.finished && loss == nullptr) {
        return;
    }
    const auto& stamp = attempt.finished ? attempt.finished->stamp : loss->stamp;
    const NodeId node = attempt.finished ? attempt.finished->node : node_of(loss->owner);
    if (!valid_node_name(node.v)) {
        return;  // no writer of ours says so; a key is bounded
    }
    auto& row = out.routing[{node, type, hlc_ms(stamp.hlc) / day_ms}];
    ++row.runs;
    row.succeeded += phase == Phase::succeeded ? 1 : 0;
    row.failed += phase == Phase::failed ? 1 : 0;
    row.timeout += phase == Phase::timeout ? 1 : 0;
    row.lost += phase == Phase::lost ? 1 : 0;
    if (phase == Phase::succeeded) {
        ++row.durations[duration_bucket(attempt.finished->wall_ms)];
    }
}

Contribution contribution_of(const JobId& job, const JobRow& row) {
    Contribution out;
    const auto* submission = row.submission();
    if (submission == nullptr) {
        return out;
    }
    const auto spec = queue::parse_canonical(submission->document).value_or({});
    const auto now = situation_of(row, rules_of(spec));
    out.state = state_name(now.state);
    if (!is_terminal(now.state)) {
        out.index = place(job, *submission, spec, now);
        for (const auto& rule : spec.after) {
            out.after.push_back(rule.job);
        }
    }
    for (const auto& [k, attempt] : row.attempts) {
        add_attempt(out, spec.task_type(), attempt);
    }
    return out;
}

class Fold {
public:
    explicit Fold(kv::WriteTransaction& transaction) : transaction_(transaction) {}

    void take(const events::Event& event) {
        if (const auto job = job_of(event.payload)) {
            fold(open(*job).row, event);
            applied_.changed.insert(*job);
        }
        std::visit([&](const auto& payload) { also(event, payload); }, event.payload);
        ++applied_.events;
    }

    Status finish(std::span<const FoldInput> inputs) {
        for (auto& [job, open] : jobs_) {
            write_job(job, open);
        }
        for (const auto& [key, delta] : routing_) {
            write_routing(key, delta);
        }
        for (const auto& [state, delta] : totals_) {
            const auto before = transaction_.get(table::totals, as_bytes(state));
            const auto now = static_cast<std::int64_t>(before ? from_be64(*before) : 0) + delta;
            keep(now == 0 ? transaction_.erase(table::totals, as_bytes(state))
                          : transaction_.put(table::totals, as_bytes(state),
                                             be64(static_cast<std::uint64_t>(now))));
        }
        for (const auto& input : inputs) {
            const CursorRow cursor{input.position,
                                   input.events.empty() ? Hlc(0) : input.events.back().hlc};
            keep(transaction_.put(table::meta, cursor_key(input.writer), encode(cursor)));
        }
        trim_observations();
        write_digests();
        return status_;
    }
    Applied applied() && { return std::move(applied_); }

private:
    struct Open {
        JobRow row;
        Contribution before;
    };

    void keep(Status done) {
        if (!done && status_) {
            status_ = std::move(done);
        }
    }

    Open& open(const JobId& job) {
        const auto found = jobs_.find(job);
        if (found != jobs_.end()) {
            return found->second;
        }
        auto& out = jobs_[job];
        const auto bytes = transaction_.get(table::jobs, job_key(job));
        auto row = bytes ? decode_job_row(*bytes) : Result<JobRow>(JobRow{});
        if (!row) {
            keep(row.error());
            return out;
        }
        out.row = std::move(*row);
        out.before = contribution_of(job, out.row);
        return out;
    }

    /// A row of a digested view: the old hash goes, the new one comes.
    void put(kv::Table view, ByteView key, ByteView value) {
        if (const auto old = transaction_.get(view, key)) {
            digests_[view] -= row_hash(view, key, *old);
        }
        digests_[view] += row_hash(view, key, value);
        keep(transaction_.put(view, key, value));
    }
    void remove(kv::Table view, ByteView key) {
        if (const auto old = transaction_.get(view, key)) {
            digests_[view] -= row_hash(view, key, *old);
            keep(transaction_.erase(view, key));
        }
    }

    template <typename T>
    void also(const events::Event&, const T&) {}
    void also(const events::Event& event, const events::JobSubmitted& e) {
        if (e.request_id.empty() || e.request_id.size() > kv::max_key_bytes) {
            return;
        }
        const auto old = transaction_.get(table::requests, as_bytes(e.request_id));
        if (!old || event.stamp() < decode_request(*old).stamp) {
            put(table::requests, as_bytes(e.request_id), encode(RequestRow{event.stamp(), e.job}));
        }
    }
    void also(const events::Event& event, const events::JobFinished& e) {
        const auto& end = open(e.attempt.job).row.attempts[e.attempt.attempt].finished;
        if (end && end->stamp == event.stamp()) {
            put(table::outputs, attempt_key(e.attempt),
                encode(OutputRow{event.stamp(), e.out, e.err}));
        }
    }
    void also(const events::Event& event, const events::NodeStarted& e) {
        NodeRow row{event.stamp(), e.node,         e.incarnation, e.role,      e.roles,
                    e.labels,      e.slots,        e.cpus,        e.memory_mb, e.level,
                    e.version,     e.heartbeat_ms, false};
        put_node(event, row);
    }
    void also(const events::Event& event, const events::NodeStopped&) {
        const auto old = transaction_.get(table::nodes, as_bytes(event.writer.v));
        if (old) {
            auto row = decode_node(*old);
            row.stopped = true;
            row.stamp = std::max(row.stamp, event.stamp());
            put_node(event, row);
        }
    }
    // A writer's own log is folded in its order, so the later word is the greater one.
    void put_node(const events::Event& event, const NodeRow& row) {
        applied_.nodes_changed = true;
        put(table::nodes, as_bytes(event.writer.v), encode(row));
    }
    void also(const events::Event& event, const events::SwitchSet& e) {
        if (e.name.empty() || e.name.size() > kv::max_key_bytes) {
            return;
        }
        const auto old = transaction_.get(table::switches, as_bytes(e.name));
        if (old) {
            const auto before = decode_switch(*old);
            if (std::pair(before.version, before.stamp) >= std::pair(e.version, event.stamp())) {
                return;
            }
        }
        applied_.nodes_changed = true;
        put(table::switches, as_bytes(e.name),
            encode(SwitchRow{event.stamp(), e.value, e.version, e.uid, e.reason}));
    }
    void also(const events::Event& event, const events::LevelRaised& e) {
        const auto old = transaction_.get(table::cluster, as_bytes(level_key));
        if (old) {
            const auto before = decode_level(*old);
            if (before.level > e.level ||
                (before.level == e.level && before.stamp <= event.stamp())) {
                return;
            }
        }
        applied_.nodes_changed = true;
        put(table::cluster, as_bytes(level_key), encode(LevelRow{event.stamp(), e.level}));
    }
    void also(const events::Event& event, const events::NodeHealth& e) {
        if (!valid_node_name(e.node.v)) {
            return;
        }
        const auto old = transaction_.get(table::health, as_bytes(e.node.v));
        if ((!old || decode_health(*old).stamp < event.stamp())) {
            put(table::health, as_bytes(e.node.v), encode(HealthRow{event.stamp(), e}));
        }
    }
    void also(const events::Event& event, const events::JobRejected& e) {
        observe(event, true, e.origin, e.field, e.reason);
    }
    void also(const events::Event& event, const events::Observation& e) {
        observe(event, false, e.kind, e.subject, e.detail);
    }
    void observe(const events::Event& event, bool rejected, const std::string& a,
                 const std::string& b, const std::string& c) {
        ByteWriter w;
        put_stamp(w, event.stamp());
        w.boolean(rejected);
        for (const auto* text : {&a, &b, &c}) {
            w.text(*text);
        }
        Bytes key = be64(event.hlc.v);
        const auto writer = as_bytes(event.writer.v);
        key.insert(key.end(), writer.begin(), writer.end());
        keep(transaction_.put(table::observations, key, w.view()));
    }
    void trim_observations() {
        const auto count = transaction_.count(table::observations);
        std::vector<Bytes> oldest;
        if (count > kept_observations) {
            transaction_.scan(table::observations, {}, [&](ByteView key, ByteView) {
                oldest.emplace_back(key.begin(), key.end());
                return oldest.size() < count - kept_observations;
            });
        }
        for (const auto& key : oldest) {
            keep(transaction_.erase(table::observations, key));
        }
    }

    void write_job(const JobId& job, const Open& open) {
        put(table::jobs, job_key(job), encode(open.row));
        const auto now = contribution_of(job, open.row);
        if (open.before.index) {
            keep(transaction_.erase(table::index, index_key(*open.before.index)));
        }
        if (now.index) {
            keep(transaction_.put(table::index, index_key(*now.index), {}));
        }
        for (const auto& other : open.before.after) {
            keep(transaction_.erase(table::dependents, dependent_key(other, job)));
        }
        for (const auto& other : now.after) {
            keep(transaction_.put(table::dependents, dependent_key(other, job), {}));
        }
        count(open.before, -1);
        count(now, 1);
    }
    static Bytes dependent_key(const JobId& other, const JobId& job) {
        Bytes key = job_key(other);
        key.insert(key.end(), job.bytes.begin(), job.bytes.end());
        return key;
    }

    using Delta = std::array<std::int64_t, 5 + std::tuple_size_v<decltype(RoutingRow::durations)>>;
    static Delta values(const RoutingRow& row) {
        Delta out{};
        std::size_t i = 0;
        for (const auto v : {row.runs, row.succeeded, row.failed, row.timeout, row.lost}) {
            out[i++] = static_cast<std::int64_t>(v);
        }
        for (const auto v : row.durations) {
            out[i++] = v;
        }
        return out;
    }
    void count(const Contribution& contribution, std::int64_t sign) {
        if (!contribution.state.empty()) {
            totals_[contribution.state] += sign;
        }
        for (const auto& [key, row] : contribution.routing) {
            const auto delta = values(row);
            auto& sum = routing_[key];
            for (std::size_t i = 0; i < sum.size(); ++i) {
                sum[i] += sign * delta[i];
            }
        }
    }
    void write_routing(const RoutingKey& key, const Delta& delta) {
        if (std::all_of(delta.begin(), delta.end(), [](std::int64_t v) { return v == 0; })) {
            return;
        }
        const auto at = routing_key(key);
        const auto old = transaction_.get(table::routing, at);
        auto sum = values(old ? decode_routing(*old) : RoutingRow{});
        for (std::size_t i = 0; i < sum.size(); ++i) {
            sum[i] += delta[i];
        }
        RoutingRow row;
        std::size_t i = 0;
        for (auto* v : {&row.runs, &row.succeeded, &row.failed, &row.timeout, &row.lost}) {
            *v = static_cast<std::uint64_t>(sum[i++]);
        }
        for (auto& v : row.durations) {
            v = static_cast<std::uint32_t>(sum[i++]);
        }
        // A row of zeros is no row, so that a contribution that came and went leaves no trace (I5).
        if (row.runs == 0) {
            remove(table::routing, at);
        } else {
            put(table::routing, at, encode(row));
        }
    }

    void write_digests() {
        for (const auto& [view, delta] : digests_) {
            const auto key = digest_key(view);
            const auto old = transaction_.get(table::meta, key);
            Sum sum = delta;
            if (old && old->size() == 16) {
                sum += static_cast<Sum>(load_le<std::uint64_t>(old->data() + 8)) << 64 |
                       load_le<std::uint64_t>(old->data());
            }
            Bytes bytes(16);
            store_le(bytes.data(), static_cast<std::uint64_t>(sum));
            store_le(bytes.data() + 8, static_cast<std::uint64_t>(sum >> 64));
            keep(transaction_.put(table::meta, key, bytes));
        }
    }

    kv::WriteTransaction& transaction_;
    Status status_;
    Applied applied_;
    std::map<JobId, Open> jobs_;
    std::map<RoutingKey, Delta> routing_;
    std::map<std::string, std::int64_t> totals_;
    std::map<kv::Table, Sum> digests_;
};

}  // namespace

namespace {

/// Rows of another fold are thrown away: they are computed again from the logs. So are those of a
/// build that knew fewer event types, for it passed over what is known now.
Status settle_fold_version(kv::Store& store) {
    const auto key = as_bytes("fold_version");
    auto wanted = be64(fold_version);
    const auto types = be64(std::variant_size_v<events::Payload> - 1);
    wanted.insert(wanted.end(), types.begin(), types.end());
    {
        TRY_ASSIGN(auto reading, store.read());
        const auto found = reading->get(table::meta, key);
        TRY(reading->status());
        if (found == wanted) {
            return ok();
        }
    }
    TRY(store.clear());
    TRY_ASSIGN(auto writing, store.write());
    TRY(writing->put(table::meta, key, wanted));
    return writing->commit();
}

}  // namespace

std::int64_t virtual_ms(const Submission& submission, const queue::JobSpec& spec) {
    return hlc_ms(submission.stamp.hlc) - class_bonus_ms * static_cast<int>(spec.priority);
}

std::span<const std::string_view> Projection::table_names() { return table::names; }

Projection::Projection(kv::Store& store) : store_(store) {}

Result<std::unique_ptr<Projection>> Projection::open(kv::Store& store) {
    std::unique_ptr<Projection> out(new Projection(store));
    TRY(settle_fold_version(store));
    TRY_ASSIGN(auto transaction, store.read());
    out->cut_ = read_cut(*transaction);
    return out;
}

Result<Applied> Projection::apply(std::span<const FoldInput> inputs) {
    Cut next = cut_;
    for (const auto& input : inputs) {
        auto& cursor = next[input.writer];
        if (input.position.seq <= cursor.position.seq) {
            return Error{Code::conflict, input.writer.v + ": event " +
                                             std::to_string(input.position.seq.v) +
                                             " is folded already"};
        }
        const bool gap =
            !input.events.empty() && input.events.front().seq != cursor.position.seq.next();
        if (gap) {
            return Error{Code::conflict, input.writer.v + ": event " +
                                             std::to_string(cursor.position.seq.v + 1) +
                                             " has not been folded"};
        }
        cursor = {input.position, input.events.empty() ? Hlc(0) : input.events.back().hlc};
    }
    TRY_ASSIGN(auto transaction, store_.write());
    Fold fold(*transaction);
    for (const auto& input : inputs) {
        for (const auto& event : input.events) {
            fold.take(event);
        }
    }
    TRY(fold.finish(inputs));
    TRY(transaction->commit());
    cut_ = std::move(next);
    return std::move(fold).applied();
}

Result<Snapshot> Projection::snapshot() const {
    TRY_ASSIGN(auto transaction, store_.read());
    return Snapshot(std::move(transaction));
}

const Cut& Projection::cut() const { return cut_; }

}  // namespace reeve::projection
