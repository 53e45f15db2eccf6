// The fold of a transaction: every touched row is read once, folded in memory, and written once,
// with index, contributions and digest derived from the difference of its old and its new value.

#include "projection/projection.h"

#include "projection/bulk.h"
#include "projection/contribution.h"
#include "projection/fold.h"

namespace reeve::projection {
namespace {

constexpr std::int64_t class_bonus_ms = 600'000;  // aging: a class is worth ten minutes of waiting

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
    // Whose key it is decides the row, not whether that key is pinned: views of machines with
    // different pins are equal, and a forged word cannot hide a true one.
    void also(const events::Event&, const events::WriterRetired& e) {
        if (!verify(e.operator_key, signed_part(e), e.signature)) {
            return;
        }
        const auto key = retired_key(e);
        const auto row = encode(e);
        const auto old = transaction_.get(table::retired, key);
        if (old) {
            const auto before = decode_retired(*old);
            // Of two words about one serial the one that reads less: it is the one all can keep.
            if (before.serial > e.serial ||
                (before.serial == e.serial &&
                 std::pair(before.seq, Bytes(old->begin(), old->end())) <= std::pair(e.seq, row))) {
                return;
            }
        }
        applied_.nodes_changed = true;
        put(table::retired, key, row);
    }
    void also(const events::Event&, const events::PolicyLoaded& e) {
        if (!verify(e.operator_key, signed_part(e), e.signature)) {
            return;
        }
        const auto old = transaction_.get(table::policy, policy_key(e));
        if (old) {
            const auto before = decode_policy(*old);
            if (std::pair(before.version, policy_hash(before)) >=
                std::pair(e.version, policy_hash(e))) {
                return;
            }
        }
        applied_.nodes_changed = true;
        put(table::policy, policy_key(e), encode(e));
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
    void also(const events::Event& event, const events::ForkSeen& e) {
        const auto key = fork_key(e);
        const auto old = transaction_.get(table::forks, key);
        if (old && decode_stamp(*old) <= event.stamp()) {
            return;
        }
        applied_.nodes_changed = true;
        put(table::forks, key, encode(event.stamp()));
    }
    // Of two decisions about one place the one that goes on later: what another let go on between
    // may be of a side that he did not know of. Said again it is the same fact.
    void also(const events::Event&, const events::ForkResolved& e) {
        if (!verify(e.operator_key, signed_part(e), e.signature)) {
            return;
        }
        const auto key = resolved_key(e);
        const auto row = encode(e);
        const auto old = transaction_.get(table::resolved, key);
        if (old) {
            const auto before = decode_resolved(*old);
            if (before.continues > e.continues ||
                (before.continues == e.continues && Bytes(old->begin(), old->end()) <= row)) {
                return;
            }
        }
        applied_.nodes_changed = true;
        put(table::resolved, key, row);
    }
    void also(const events::Event& event, const events::NodeHealth& e) {
        if (!valid_node_name(e.node.v)) {
            return;
        }
        const auto old = transaction_.get(table::health, as_bytes(e.node.v));
        if ((!old || decode_health(*old).stamp < event.stamp())) {
            const bool same = old && decode_health(*old).health.state == e.state;
            applied_.nodes_changed = applied_.nodes_changed || !same;
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
            Digest before{};
            if (const auto old = transaction_.get(table::meta, key)) {
                std::copy_n(old->begin(), std::min(old->size(), before.size()), before.begin());
            }
            keep(transaction_.put(table::meta, key, digest_of(sum_of(before) + delta)));
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
    const auto wanted = fold_version_row();
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

Status fold_others(kv::WriteTransaction& transaction, std::span<const events::Event> events) {
    Fold fold(transaction);
    for (const auto& event : events) {
        fold.take(event);
    }
    return fold.finish({});
}

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
    TRY(transaction->status());
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

Status Projection::load(env::FileSystem& files, const NextEvents& next,
                        const BulkOptions& options) {
    auto loaded = load_logs(store_, files, next, options);
    cut_.clear();
    if (auto settled = settle_fold_version(store_); !settled) {
        return Error{Code::corrupt, "a view that was loaded in part cannot be cleared: " +
                                        settled.error().message};
    }
    TRY(loaded);
    TRY_ASSIGN(auto transaction, store_.read());
    cut_ = read_cut(*transaction);
    return transaction->status();
}

Result<Snapshot> Projection::snapshot() const {
    TRY_ASSIGN(auto transaction, store_.read());
    return Snapshot(std::move(transaction));
}

const Cut& Projection::cut() const { return cut_; }

}  // namespace reeve::projection
